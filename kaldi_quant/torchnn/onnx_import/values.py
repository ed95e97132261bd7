"""What a name of an ONNX graph stands for while the graph is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import fx

#: A size: known, or computed by the network.
Number = int | fx.Node


@dataclass(frozen=True)
class Filled:
    """A tensor of one number.

    Args:
        value: the number, of the tensor's type.
        sizes: of its axes.
    """

    value: np.generic
    sizes: tuple[Number, ...]


#: A tensor that the network computes; a constant, or an array of objects: whole numbers that are sizes.
Value = fx.Node | np.ndarray | Filled


def numbers(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Sizes as an array: of int64 if all are known, else of objects."""
    flat = [one if isinstance(one, fx.Node) else int(one) for one in values]
    if all(isinstance(one, int) for one in flat):
        return np.array(flat, np.int64).reshape(shape)
    found = np.empty(len(flat), object)
    found[:] = flat
    return found.reshape(shape)


def is_constant(value: Value | None) -> bool:
    """Whether a value is in the file, or follows from what is."""
    return isinstance(value, np.ndarray) and value.dtype != object


def is_sizes(value: Value | None) -> bool:
    """Whether a value is whole numbers that the network computes from sizes."""
    return isinstance(value, np.ndarray) and value.dtype == object


def is_zero(value: Value | None) -> bool:
    """Whether a value is known to be zeros."""
    if isinstance(value, Filled):
        return not value.value
    return isinstance(value, np.ndarray) and is_constant(value) and not value.any()
