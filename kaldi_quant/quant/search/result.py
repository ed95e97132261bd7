"""A search from its measurements to its result: what was measured, the front, what was chosen and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from kaldi_quant.quant.search.allocation import Allocation, pareto_front
from kaldi_quant.quant.search.cost_model import FileSize
from kaldi_quant.quant.search.measurements import MeasuredModel
from kaldi_quant.quant.search.options import Budget
from kaldi_quant.quant.search.outcome import Models, Outcome, Scoring, find
from kaldi_quant.quant.search.search import FRONT_POINTS, Proposal, Search

_FORMAT = 1


@dataclass(frozen=True)
class Result:
    """What a search has found.

    Args:
        models: after all measurements.
        budget: what was asked for.
        outcome: the model under it.
        front: the points of the predicted front that were measured.
    """

    models: Models
    budget: Budget
    outcome: Outcome
    front: Sequence[tuple[Proposal, MeasuredModel]] = ()

    def as_dict(self, measured_bits: float) -> dict[str, Any]:
        """The content of search.json.

        Args:
            measured_bits: the mean width of a weight of the quantized network.
        """
        search, outcome = self.models.search, self.outcome
        proposal, costs = outcome.proposal, search.cost_model
        allocation, wanted = proposal.allocation, set(search.measuring.choices())
        store = search.measuring.store
        return {
            "format": _FORMAT,
            "budget": asdict(self.budget),
            "options": asdict(search.options),
            "about": store.about,
            "measurements": [found.as_dict() for found in store.in_order() if found.choice in wanted],
            "front": [_point(search, point) for point in pareto_front(costs.problem, FRONT_POINTS, search.limits)],
            "base_divergence": search.measuring.base_measurement.divergence,
            "layers": _layers(search, allocation),
            "inputs": [
                {"layers": list(group.layers), "act_bits": bits, "divergence": group.divergence[bits]}
                for group, bits in zip(costs.problem.groups, allocation.act_bits, strict=True)
            ],
            "float_layers": search.candidates.base.float_layers,
            "config": proposal.config.as_dict(),
            "bit_operations": allocation.totals["bit_operations"],
            "predicted": {
                "bytes": proposal.bytes,
                "divergence": proposal.divergence,
                "bits_per_weight": proposal.bits,
            },
            "measured": {
                "bytes": outcome.bytes,
                "divergence": outcome.divergence,
                "bits_per_weight": measured_bits,
            },
            "ratio": {
                "bytes": outcome.bytes / proposal.bytes,
                "divergence": outcome.divergence / proposal.divergence if proposal.divergence > 0 else None,
            },
            "float": store.float_errors.as_dict() if store.float_errors else None,
            "models": _models(search, outcome),
            "measured_front": [
                {**_told(search, model), "predicted": {"bytes": point.bytes, "divergence": point.divergence}}
                for point, model in self.front
            ],
        }


def run(
    search: Search, budget: Budget, write: FileSize, scoring: Scoring | None = None, refine: int = 0, front: int = 0
) -> Result:
    """Measures, and finds the model under a budget.

    Args:
        search: its store keeps what is measured; what is there already is not measured again.
        budget: see there.
        write: writes the result, or only tells its size.
        scoring: how words are measured; None where there is no graph.
        refine: as of ``find``.
        front: how many points of the predicted front are really quantized and measured, too.

    Raises:
        UsageError: no allocation meets the budget.
        DataError: too many units cannot be used, or the store cannot be written.
    """
    models = Models(search, scoring)
    # First of all: it shows whether graph and text fit, before hours of measurements.
    models.float_errors()
    for _ in search.measure():
        pass
    outcome = find(models, budget, write, refine)
    points = search.front(front, budget.text) if front else []
    return Result(models, budget, outcome, [(point, models.measured(point)) for point in points])


def _models(search: Search, outcome: Outcome) -> list[dict[str, Any]]:
    """All that were ever measured in this folder, by size; that of the result is the file that was written."""
    found = []
    for model in search.measuring.store.models.values():
        chosen = model.configuration == outcome.model.configuration
        size = outcome.bytes if chosen else model.bytes
        found.append({**_told(search, replace(model, bytes=size)), "chosen": chosen})
    return sorted(found, key=lambda entry: (entry["bytes"], entry["divergence"]))


def _told(search: Search, model: MeasuredModel) -> dict[str, Any]:
    """The mean width is of all weights, as that of the result: layers that are in float anyway are included."""
    known = {key: value for key, value in model.as_dict().items() if key != "configuration"}
    return {**known, "bits_per_weight": search.cost_model.mean_width(model.bits, model.act_bits)}


def _layers(search: Search, allocation: Allocation) -> list[dict[str, Any]]:
    layers = search.candidates.base.layers
    return [
        {"name": name, "parameters": layers[name].weight.integers.numel(), **asdict(option)}
        for name, option in allocation.layers.items()
    ]


def _point(search: Search, allocation: Allocation) -> dict[str, Any]:
    """A point of the front; its size lacks the few digits that differ from the base's file."""
    costs = search.cost_model
    return {
        "bytes": costs.rest + int(allocation.totals["bytes"]),
        "divergence": costs.divergence(allocation),
        "bits_per_weight": costs.bits_per_weight(allocation.totals["weight_bits"]),
        "bit_operations": allocation.totals["bit_operations"],
        "bits": {name: option.bits for name, option in allocation.layers.items()},
        "act_bits": list(allocation.act_bits),
    }
