"""Parts of values."""

from __future__ import annotations

import operator as python
from typing import Any

import numpy as np
import torch
from torch import fx

from kaldi_quant.torchnn.onnx_import.operator import Operator, Result, adds
from kaldi_quant.torchnn.onnx_import.values import Filled, Number

# From here on a bound means the end of an axis.
_END = 1 << 30


@adds("Slice")
def cut(operator: Operator) -> Result:
    """Stretches of some axes."""
    first, last = operator.sizes(1, "bounds"), operator.sizes(2, "bounds")
    axes = operator.integers(3, "axes") or list(range(len(first)))
    steps = operator.integers(4, "steps") or [1] * len(first)
    if not len(first) == len(last) == len(axes) == len(steps):
        operator.refuse("has not as many bounds as axes")
    rank = operator.rank() if operator.has(3) else None
    parts = {
        operator.axis(axis, rank): _slice(operator, start, stop, step)
        for axis, start, stop, step in zip(axes, first, last, steps, strict=True)
    }
    found = operator.value(0)
    if isinstance(found, Filled) and all(_is_known(found, axis, part) for axis, part in parts.items()):
        lengths = {axis: len(range(*part.indices(found.sizes[axis]))) for axis, part in parts.items()}  # type: ignore[arg-type]
        return Filled(found.value, tuple(lengths.get(axis, size) for axis, size in enumerate(found.sizes)))
    x = operator.x
    backwards = [axis for axis, part in parts.items() if part.step is not None and part.step < 0]
    if backwards:
        x = operator.call(torch.flip, x, tuple(backwards))
        parts = {axis: part for axis, part in parts.items() if axis not in backwards}
    whole = [parts.get(axis, slice(None)) for axis in range(max(parts, default=-1) + 1)]
    return operator.call(python.getitem, x, tuple(whole)) if whole else x


def _is_known(found: Filled, axis: int, part: slice) -> bool:
    bounds = (found.sizes[axis], part.start, part.stop)
    return not any(isinstance(bound, fx.Node) for bound in bounds)


def _slice(operator: Operator, first: Number, last: Number, step: int) -> slice:
    if step < 0:
        # All of an axis from its end: other steps backwards are not found in networks.
        from_end = first == -1 or (isinstance(first, int) and first >= _END)
        if step != -1 or not from_end or not isinstance(last, int) or last > -_END:
            operator.refuse("goes backwards, and not over all of an axis by steps of one, which is not understood")
        return slice(None, None, -1)
    start = None if first == 0 or (isinstance(first, int) and first <= -_END) else first
    stop = None if isinstance(last, int) and last >= _END else last
    return slice(start, stop, None if step == 1 else step)


@adds("Split")
def split(operator: Operator) -> tuple[fx.Node, ...]:
    """An axis in stretches."""
    axis, count = operator.attribute("axis", 0), len(operator.node.output)
    told = operator.attribute("num_outputs", count)
    sizes: list[Number] | list[int] | None = (
        operator.integers(1, "split", since=13)
        if operator.opset < 13
        else operator.sizes(1, "sizes")
        if operator.has(1)
        else None
    )
    if told != count or (sizes is not None and len(sizes) != count):
        operator.refuse(f"has {count} outputs, and is told of another number")
    if sizes is None:
        parts = operator.method("chunk", operator.x, count, axis)
    else:
        parts = operator.call(torch.split, operator.x, list(sizes), axis)
    return tuple(operator.call(python.getitem, parts, place) for place in range(count))


@adds("Gather")
def gather(operator: Operator) -> fx.Node:
    """Places of an axis that are known."""
    axis = operator.attribute("axis", 0)
    index: Any = operator.constant(1, "places")
    if index.ndim == 0:
        return operator.method("select", operator.x, axis, int(index))
    if index.ndim != 1:
        operator.refuse("chooses places by a matrix, which is not understood")
    if (index < 0).any():
        length = operator.known_size(0, operator.axis(axis))
        if length is None:
            operator.refuse("counts places from the end of an axis of any length")
        index = np.where(index < 0, index + length, index)
    if len(index) and (np.diff(index) == 1).all():
        return operator.method("narrow", operator.x, axis, int(index[0]), len(index))
    places = operator.building.stored(operator.node, operator.node.input[1], np.asarray(index, np.int64))
    return operator.call(torch.index_select, operator.x, axis, places)
