"""What components hold for training alone: statistics of activations and of their derivatives, and their counts.

Source: ``StoreStats`` and ``ZeroStats`` of the classes in ``src/nnet3``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from kaldi_quant.kaldi.component import Component

_STATISTICS = frozenset({"ValueAvg", "DerivAvg", "OderivRms", "EntropyStats", "PosteriorStats", "SelfRepairProb"})
_COUNTS = frozenset(
    {"Count", "OderivCount", "NumDimsSelfRepaired", "NumDimsProcessed", "SelfRepairTotal", "StatsCount"}
)
_FOR_TRAINING = _STATISTICS | {"SelfRepairConfig"}
# The count of a BatchNormComponent says that its mean and variance are there.
_COUNT_MATTERS = "BatchNormComponent"


def without_statistics(component: Component) -> Component:
    """A copy of a component with the statistics of training set to zero."""
    fields = [(name, _cleared(component, name, value)) for name, value in component.fields]
    return Component(component.type, fields, component.closing)


def _cleared(component: Component, name: str, value: Any) -> Any:
    if name == "NumComponents":
        return [without_statistics(part) for part in value]
    if name in _STATISTICS:
        return np.zeros_like(value)
    if name in _COUNTS and component.type != _COUNT_MATTERS:
        return type(value)(0)
    return value


def inference_arrays(component: Component) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of floats that inference needs with their fields' names, those of nested components included."""
    for name, value in component.arrays():
        if name not in _FOR_TRAINING:
            yield name, value
