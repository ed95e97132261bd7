"""Parts of values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from kaldi_quant.backends.onnx.writer import Name
from kaldi_quant.torchnn.onnx.operation import Operation, adds
from kaldi_quant.torchnn.onnx.sizes import END, Number, Size


def cut(operation: Operation, x: Name, axis: int, first: Number, last: Number, step: int = 1) -> Name:
    """A stretch of an axis, as Python's slices are."""
    sizes = operation.sizes
    bounds = [sizes.one(first), sizes.one(last), sizes.one(axis), sizes.one(step)]
    return operation.op("Slice", [x, *bounds])


@adds("getitem")
def getitem(operation: Operation) -> Name:
    """Whole numbers, slices, new axes and an ellipsis."""
    given = operation.args[1]
    parts = list(given) if isinstance(given, tuple) else [given]
    if any(isinstance(part, fx.Node | Tensor | list | torch.Tensor | bool) for part in parts):
        operation.refuse("has no ONNX form with an index that is a tensor or a list")
    named = sum(part is not None and part is not Ellipsis for part in parts)
    x, axis, dropped, added, result = operation.x, 0, [], [], 0
    for part in parts:
        if part is Ellipsis:
            skipped = len(operation.before) - named
            axis, result = axis + skipped, result + skipped
        elif part is None:
            added.append(result)
            result += 1
        elif isinstance(part, slice):
            x = _sliced(operation, x, axis, part)
            axis, result = axis + 1, result + 1
        elif isinstance(part, int | Size):
            x = cut(operation, x, axis, part, _behind(operation, part))
            dropped.append(axis)
            axis += 1
        else:
            operation.refuse(f"has no ONNX form with the index {part}")
    if dropped:
        x = operation.op("Squeeze", [x, operation.writer.integers(*dropped)])
    return operation.op("Unsqueeze", [x, operation.writer.integers(*added)]) if added else x


def _behind(operation: Operation, place: Number) -> Number:
    return END if place == -1 else operation.sizes.add(place, 1)


def _sliced(operation: Operation, x: Name, axis: int, part: slice) -> Name:
    if (part.start, part.stop, part.step) in ((None, None, None), (0, None, None)):
        return x
    first = 0 if part.start is None else part.start
    last = END if part.stop is None else part.stop
    return cut(operation, x, axis, first, last, 1 if part.step is None else part.step)


def parted(operation: Operation, axis: int, bounds: Sequence[Number]) -> tuple[Name, ...]:
    """The stretches between bounds."""
    x = operation.x
    return tuple(cut(operation, x, axis, first, last) for first, last in pairwise(bounds))


@adds("split", "chunk", "tensor_split", "unsafe_chunk")
def split(operation: Operation) -> tuple[Name, ...]:
    """An axis in stretches; those of a tuple are as long as the example's, but for one where the axis is free."""
    size = operation.argument(1, "split_size_or_sections", operation.kwargs.get("split_size"))
    if operation.name != "split":
        size = operation.argument(1, "chunks", operation.argument(1, "sections"))
    axis = operation.axis(2, "dim", 0)
    count = len(operation.example)
    if operation.name == "split" and isinstance(size, int | Size):
        bounds = [operation.sizes.multiply(place, size) for place in range(count)]
        return parted(operation, axis, [*bounds, END])
    if operation.name == "chunk" and operation.before[axis] is None:
        whole = operation.x_sizes()[axis]
        length = operation.sizes.divide(operation.sizes.add(whole, size - 1), size)
        bounds = [operation.sizes.multiply(place, length) for place in range(count)]
        return parted(operation, axis, [*bounds, END])
    if operation.name == "split" and isinstance(size, list | tuple):
        bounds = [0]
        for length in size:
            bounds.append(operation.sizes.add(bounds[-1], length))
        return parted(operation, axis, bounds)
    operation.size_known(axis)
    lengths = [one.shape[axis] for one in operation.example]
    return parted(operation, axis, [0, *np.cumsum(lengths).tolist()])


@adds("unbind")
def unbind(operation: Operation) -> tuple[Name, ...]:
    """Each place of an axis."""
    axis = operation.axis(1, "dim", 0)
    places = operation.size_known(axis)
    return tuple(
        operation.op("Squeeze", [part, operation.writer.integers(axis)])
        for part in parted(operation, axis, range(places + 1))
    )


@adds("narrow")
def narrow(operation: Operation) -> Name:
    """A stretch."""
    axis, first, length = operation.axis(1, "dim"), operation.argument(2, "start"), operation.argument(3, "length")
    last = operation.sizes.add(first, length)
    if isinstance(first, int) and first < 0 and isinstance(last, int) and last >= 0:
        last = END
    return cut(operation, operation.x, axis, first, last)


@adds("select")
def select(operation: Operation) -> Name:
    """One place."""
    axis, place = operation.axis(1, "dim"), operation.argument(2, "index")
    x = cut(operation, operation.x, axis, place, _behind(operation, place))
    return operation.op("Squeeze", [x, operation.writer.integers(axis)])


@adds("index_select")
def index_select(operation: Operation) -> Name:
    """Places that a tensor names."""
    axis = operation.axis(1, "dim")
    return operation.op("Gather", [operation.x, _constant_index(operation, operation.argument(2, "index"))], axis=axis)


def _constant_index(operation: Operation, index: Any) -> Name:
    if not getattr(index, "floats", ""):
        operation.refuse("has no ONNX form with that index")
    return index.floats


@adds("flip")
def flip(operation: Operation) -> Name:
    """Axes backwards."""
    wanted = operation.args[1:] or (operation.kwargs["dims"],)
    axes = wanted[0] if isinstance(wanted[0], list | tuple) else wanted
    x = operation.x
    for axis in axes:
        x = cut(operation, x, axis % len(operation.before), -1, -END, -1)
    return x


@adds("roll")
def roll(operation: Operation) -> Name:
    """Values that leave an axis at one end enter it at the other."""
    shifts, dims = operation.argument(1, "shifts"), operation.argument(2, "dims")
    if dims is None:
        operation.refuse("has no ONNX form without an axis")
    pairs = zip(shifts, dims, strict=True) if isinstance(dims, list | tuple) else [(shifts, dims)]
    x = operation.x
    for shift, dim in pairs:
        axis = dim % len(operation.before)
        # More places than there are would need the length.
        by = shift if operation.before[axis] is None else shift % max(1, operation.size_known(axis))
        if by:
            parts = [cut(operation, x, axis, -by, END), cut(operation, x, axis, 0, -by)]
            x = operation.op("Concat", parts, axis=axis)
    return x
