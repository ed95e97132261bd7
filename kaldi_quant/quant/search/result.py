"""The result of a search as JSON: everything that was measured, the front, what was chosen, and what came of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from kaldi_quant.quant.search.allocation import Allocation, pareto_front
from kaldi_quant.quant.search.budget import Budget
from kaldi_quant.quant.search.search import Outcome, Search

_FORMAT = 1

#: Points of the front.
FRONT_POINTS = 24


def as_dict(search: Search, budget: Budget, outcome: Outcome, measured_bits: float) -> dict[str, Any]:
    """The content of search.json.

    Args:
        search: after all measurements.
        budget: what was asked for.
        outcome: what was found.
        measured_bits: the mean width of a weight of the quantized network.
    """
    proposal, prices = outcome.proposal, search.prices
    allocation, wanted = proposal.allocation, set(search.measuring.choices())
    store = search.measuring.store
    return {
        "format": _FORMAT,
        "budget": asdict(budget),
        "options": asdict(search.options),
        "about": store.about,
        "measurements": [found.as_dict() for found in store.measurements if found.choice in wanted],
        "front": [_point(search, point) for point in pareto_front(prices.problem, FRONT_POINTS, search.limits)],
        "base_divergence": search.measuring.base_measurement.divergence,
        "layers": _layers(search, allocation),
        "inputs": [
            {"layers": list(group.layers), "act_bits": bits, "divergence": group.divergence[bits]}
            for group, bits in zip(prices.problem.groups, allocation.act_bits, strict=True)
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
    }


def _layers(search: Search, allocation: Allocation) -> list[dict[str, Any]]:
    layers = search.candidates.base.layers
    return [
        {"name": name, "parameters": layers[name].weight.integers.numel(), **asdict(option)}
        for name, option in allocation.layers.items()
    ]


def _point(search: Search, allocation: Allocation) -> dict[str, Any]:
    """A point of the front; its size lacks the few digits that differ from the base's file."""
    prices = search.prices
    return {
        "bytes": prices.rest + int(allocation.totals["bytes"]),
        "divergence": prices.divergence(allocation),
        "bits_per_weight": prices.bits_per_weight(allocation),
        "bit_operations": allocation.totals["bit_operations"],
        "bits": {name: option.bits for name, option in allocation.layers.items()},
        "act_bits": list(allocation.act_bits),
    }
