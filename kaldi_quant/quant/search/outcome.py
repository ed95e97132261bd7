"""Models of proposals, really quantized and measured once; and the one among them that a search ends with."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.errors import UsageError
from kaldi_quant.quant.fast_products import fast_model
from kaldi_quant.quant.host import Data, Executable
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.ptq import quantize
from kaldi_quant.quant.search.cost_model import FileSize
from kaldi_quant.quant.search.measurements import MeasuredModel, WordErrors
from kaldi_quant.quant.search.options import Budget
from kaldi_quant.quant.search.search import FRONT_POINTS, Proposal, Search
from kaldi_quant.units import Bytes, Nats

_log = logging.getLogger(__name__)

# Word error rates are quotients of whole numbers: what differs by less is the same.
_ROUNDING = 1e-9

#: Decodes and scores log-likelihoods, (frames, pdfs) float32 for each utterance.
Scorer = Callable[[Iterable[tuple[str, np.ndarray]]], WordErrors]


@dataclass(frozen=True)
class Scoring:
    """How word errors are measured.

    Args:
        data: all of the development data.
        score: decodes it.
    """

    data: Data
    score: Scorer

    def word_errors(self, model: Executable) -> WordErrors:
        """Of a network in torch.

        Raises:
            DataError: too many utterances cannot be used.
        """
        return self.score(self._rows(model))

    def _rows(self, model: Executable) -> Iterator[tuple[str, np.ndarray]]:
        bad = BadUtterances(self.data.max_bad_share)
        yield from self.data.outputs(model, bad)
        bad.check()


class Models:
    """The models of a search.

    Args:
        search: after its measurements, but for ``float_errors``; its store keeps what is measured here.
        scoring: how words are measured; None where there is no graph.
    """

    def __init__(self, search: Search, scoring: Scoring | None = None) -> None:
        self.search, self.scoring = search, scoring
        self.store = search.measuring.store
        self._latest: tuple[str, QuantizedNetwork] | None = None

    def network(self, proposal: Proposal) -> QuantizedNetwork:
        """Quantized as the result would be; the latest is kept."""
        digest = configuration_digest(proposal)
        if self._latest is None or self._latest[0] != digest:
            self._latest = None
            calibration, memory = self.search.candidates.calibration, self.search.memory
            network = quantize(self.search.source, proposal.config, calibration, memory=memory)
            self._latest = (digest, network)
        return self._latest[1]

    def measured(self, proposal: Proposal) -> MeasuredModel:
        """What a proposal's model is like: from the store, or quantized, measured and kept there.

        Raises:
            DataError: too many utterances cannot be used.
        """
        model = self.store.models.get(configuration_digest(proposal))
        if model is None:
            model = self._new(proposal)
            self.store.add_model(model)
        if self.scoring is not None and model.word_errors is None and model.can_be_decoded:
            model = replace(
                model,
                word_errors=self.scoring.word_errors(fast_model(self.network(proposal), self.scoring.data.device)),
            )
            self.store.add_model(model)
            _log.info("%d bytes: %s", model.bytes, _told(model))
        return model

    def _new(self, proposal: Proposal) -> MeasuredModel:
        network, layers = self.network(proposal), proposal.allocation.layers
        return MeasuredModel(
            configuration_digest(proposal),
            {name: option.bits for name, option in layers.items()},
            {name: option.act_bits for name, option in layers.items()},
            self.search.file_size(network, proposal.config),
            self.search.meter.divergence(network),
        )

    def float_errors(self) -> WordErrors | None:
        """The float model's; None where there is no graph, and they are not known.

        Raises:
            DataError: too many utterances cannot be used.
        """
        if self.store.float_errors is None and self.scoring is not None:
            in_float = self.search.meter.host.executable().to(self.scoring.data.device)
            self.store.add_float(self.scoring.word_errors(in_float))
        return self.store.float_errors


def _told(model: MeasuredModel) -> str:
    assert model.word_errors is not None
    errors, words = model.word_errors
    return f"{model.divergence:.4f} nats, {model.word_errors.percent:.2f} %WER ({errors} errors in {words} words)"


def configuration_digest(proposal: Proposal) -> str:
    """A digest of how a proposal's model is quantized, whatever its description says."""
    content = {**proposal.config.as_dict(), "description": ""}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def smallest_within(models: Models, budget: Budget) -> Proposal:
    """Walks the predicted front by bisection, on measured word error rates.

    They are taken to fall as size grows. They are noisy: of two models of about one size either may be within the
    budget and the other not, and the walk may end at another than the very smallest that is.

    Args:
        models: with a way of measuring words.
        budget: of kind "wer", percent absolute.

    Raises:
        UsageError: the largest does not meet it, or limits beside it leave nothing.
    """
    in_float = models.float_errors()
    assert in_float is not None
    search = models.search
    front = search.front(FRONT_POINTS, budget.text)
    if not front:
        raise UsageError(search.too_much_work())
    most = in_float.percent + budget.amount

    def within(model: MeasuredModel) -> bool:
        return model.word_errors is not None and model.word_errors.percent <= most + _ROUNDING

    largest = models.measured(front[-1])
    if not within(largest):
        raise UsageError(search.not_met(budget, _reached(largest, in_float.percent)))
    too_small, enough = -1, len(front) - 1
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        if within(models.measured(front[middle])):
            enough = middle
        else:
            too_small = middle
    return front[enough]


def _reached(model: MeasuredModel, in_float: float) -> str:
    found = f"{model.word_errors.percent:.2f} %WER" if model.word_errors else "too great a divergence to be decoded"
    return f"takes {model.bytes} bytes and has {found}, the float model {in_float:.2f} %WER"


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
