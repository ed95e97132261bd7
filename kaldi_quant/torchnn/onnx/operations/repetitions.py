"""Values several times: broadcast, tiled, at the nearest places of a finer axis, in overlapping windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from kaldi_quant.backends.onnx.writer import FLOAT, Name
from kaldi_quant.torchnn.onnx.operation import Operation, adds
from kaldi_quant.torchnn.onnx.sizes import Number, Size

_INT64 = 7


def _several(operation: Operation, name: str) -> list[Number]:
    given = operation.argument(1, name)
    return list(given) if isinstance(given, list | tuple) else list(operation.args[1:])


@adds("expand", "broadcast_to")
def expand(operation: Operation) -> Name:
    """Axes of one made longer."""
    # ONNX's one leaves an axis as it is.
    sizes = [1 if size == -1 else size for size in _several(operation, "size")]
    return operation.op("Expand", [operation.x, operation.sizes.vector(sizes)])


@adds("expand_as")
def expand_as(operation: Operation) -> Name:
    """As another tensor."""
    return operation.op("Expand", [operation.x, operation.op("Shape", [operation.tensor(1, "other")])])


@adds("repeat", "tile")
def repeat(operation: Operation) -> Name:
    """One after another."""
    times = _several(operation, "repeats" if operation.name == "repeat" else "dims")
    x, more = operation.x, len(times) - len(operation.before)
    if more > 0:
        x = operation.op("Unsqueeze", [x, operation.writer.integers(*range(more))])
    return operation.op("Tile", [x, operation.sizes.vector([*[1] * -more, *times])])


@adds("repeat_interleave")
def repeat_interleave(operation: Operation) -> Name:
    """Each value several times."""
    times, axis = operation.argument(1, "repeats"), operation.axis(2, "dim")
    if not isinstance(times, int) or operation.argument(2, "dim") is None:
        operation.refuse("has an ONNX form with a number and an axis alone")
    sizes = operation.x_sizes()
    x = operation.op("Unsqueeze", [operation.x, operation.writer.integers(axis + 1)])
    ones = [1] * len(sizes)
    x = operation.op("Tile", [x, operation.writer.integers(*ones[: axis + 1], times, *ones[axis + 1 :])])
    longer = operation.sizes.multiply(sizes[axis], times)
    return operation.sizes.reshaped(x, [*sizes[:axis], longer, *sizes[axis + 1 :]])


@adds("unfold")
def unfold(operation: Operation) -> Name:
    """Windows along an axis, their places a new axis at the end."""
    if len(operation.args) != 4:
        operation.refuse("has an ONNX form as the method of tensors alone")
    axis, size, step = operation.axis(1, "dimension"), operation.args[2], operation.args[3]
    length = operation.x_sizes()[axis]
    places = _range(operation, operation.sizes.add(operation.sizes.divide(_less(operation, length, size), step), 1))
    firsts = operation.op("Mul", [places, operation.writer.constant(np.int64(step))])
    column = operation.op("Unsqueeze", [firsts, operation.writer.integers(1)])
    index = operation.op("Add", [column, operation.writer.constant(np.arange(size))])
    found = operation.op("Gather", [operation.x, index], axis=axis)
    rank = len(operation.before)
    order = [*range(axis + 1), *range(axis + 2, rank + 1), axis + 1]
    return operation.op("Transpose", [found], perm=order)


def _less(operation: Operation, length: Number, size: int) -> Number:
    return operation.sizes.subtract(length, size)


def _range(operation: Operation, length: Number) -> Name:
    """0, 1, ...: (length,) int64."""
    if isinstance(length, int):
        return operation.writer.constant(np.arange(length))
    limit = operation.op("Squeeze", [length.name, operation.writer.integers(0)])
    return operation.op(
        "Range", [operation.writer.constant(np.int64(0)), limit, operation.writer.constant(np.int64(1))]
    )


@adds("interpolate", "upsample")
def interpolate(operation: Operation) -> Name:
    """The nearest values of a finer or coarser axis, as torch finds them."""
    mode = operation.argument(3, "mode", "nearest")
    if mode not in ("nearest", "nearest-exact"):
        operation.refuse(f"has no ONNX form with the mode {mode}")
    axes = len(operation.before) - 2
    factors = operation.argument(2, "scale_factor")
    goals = operation.argument(1, "size")
    if operation.argument(5, "recompute_scale_factor"):
        operation.refuse("has no ONNX form with recompute_scale_factor")
    x = operation.x
    for place in range(axes):
        factor = factors[place] if isinstance(factors, list | tuple) else factors
        goal = goals[place] if isinstance(goals, list | tuple) else goals
        x = operation.op("Gather", [x, _nearest(operation, x, 2 + place, factor, goal, mode)], axis=2 + place)
    return x


def _nearest(operation: Operation, x: Name, axis: int, factor: Any, goal: Any, mode: str) -> Name:
    """The place that each place of a finer axis is nearest to."""
    size = operation.before[axis]
    if size is not None and not isinstance(goal, Size):
        probe = torch.arange(size, dtype=torch.float64).view(1, 1, -1)
        found = functional.interpolate(probe, size=goal, scale_factor=factor, mode=mode)
        return operation.writer.constant(found.flatten().long().numpy())
    if factor is None:
        operation.size_known(axis)
        operation.refuse("has no ONNX form with a size that depends on the input")
    length = operation.sizes.of(x, (*[1] * axis, None))[-1]
    scaled = operation.op("Mul", [_as_float(operation, length), np.float32(factor).item()])
    longer = Size(operation.op("Cast", [operation.op("Floor", [scaled])], to=_INT64))
    places = operation.op("Cast", [_range(operation, longer)], to=FLOAT)
    if mode == "nearest-exact":
        places = operation.op("Add", [places, 0.5])
    near = operation.op("Floor", [operation.op("Mul", [places, float(np.float32(1.0 / factor))])])
    index = operation.op("Cast", [near], to=_INT64)
    last = operation.sizes.one(operation.sizes.subtract(length, 1))
    return operation.op("Min", [index, last])


def _as_float(operation: Operation, number: Number) -> Name:
    return operation.op("Cast", [operation.sizes.one(number)], to=FLOAT)
