"""The model that a search ends with: the best of what was predicted, or of what was measured."""

from __future__ import annotations

from dataclasses import dataclass

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.search.budget import Budget
from kaldi_quant.quant.search.cost_model import FileSize
from kaldi_quant.quant.search.measured_model import MeasuredModel
from kaldi_quant.quant.search.models import Models
from kaldi_quant.quant.search.search import Proposal
from kaldi_quant.quant.search.wer_budget import smallest_within
from kaldi_quant.units import Bytes, Nats


@dataclass(frozen=True)
class Outcome:
    """A proposal, and what the network is like that was quantized so.

    Args:
        proposal: with the predictions.
        network: the result.
        bytes: of its file.
        model: what was measured of it.
    """

    proposal: Proposal
    network: QuantizedNetwork
    bytes: Bytes
    model: MeasuredModel

    @property
    def divergence(self) -> Nats:
        """Nats per frame, on the data that candidates were measured on."""
        return self.model.divergence


def find(models: Models, budget: Budget, write: FileSize, refine: int = 0) -> Outcome:
    """The model under a budget.

    Args:
        models: of a search after its measurements.
        budget: if of bytes, it holds for the file that is written, too.
        write: writes the result, and tells its size.
        refine: how many proposals are really quantized and decoded, for the one with fewest word errors; 0 for the best
            prediction.

    Raises:
        UsageError: no allocation meets the budget.
    """
    less = 0
    while True:
        proposal = _chosen(models, budget, refine, less)
        network = models.network(proposal)
        size = write(network, proposal.config)
        if budget.kind != "bytes" or size <= budget.amount:
            return Outcome(proposal, network, size, models.measured(proposal))
        less += size - int(budget.amount)


def _chosen(models: Models, budget: Budget, refine: int, less: Bytes) -> Proposal:
    if budget.kind == "wer":
        return smallest_within(models, budget)
    if not refine:
        return models.search.propose(budget, less)
    measured = [(proposal, models.measured(proposal)) for proposal in models.search.proposals(budget, refine, less)]
    if budget.kind == "bytes":
        measured = [entry for entry in measured if entry[1].bytes <= budget.amount] or measured[:1]
    return min(measured, key=lambda entry: rank(entry[1]))[0]


def rank(model: MeasuredModel) -> tuple[float, Nats]:
    """By word errors, for each word, then by divergence; what was not decoded comes last."""
    return model.word_errors.percent if model.word_errors else float("inf"), model.divergence


def check_refinement(budget: Budget, refine: int, front: int, scored: bool) -> None:
    """Refuses what cannot be done.

    Args:
        budget: what was asked for.
        refine: as in ``find``.
        front: how many points of the front are measured.
        scored: whether word errors can be measured.

    Raises:
        UsageError: a number is impossible, or word errors are needed and cannot be measured.
    """
    if refine < 0 or front < 0:
        raise UsageError("--refine and --front cannot be negative")
    if front == 1:
        raise UsageError("--front needs at least two points, found 1")
    if refine and budget.kind == "wer":
        raise UsageError(
            f"--refine has no effect with a budget of {budget.text}, for which candidates are decoded anyway"
        )
    if (refine or budget.kind == "wer") and not scored:
        what = "--refine" if refine else f"a budget of {budget.text}"
        raise UsageError(f"{what} needs --graph-dir and --data-dir, to measure word error rates")
