"""One number of many, in float."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kaldi_quant.backends.onnx.writer import Name
from kaldi_quant.torchnn.onnx.operation import Operation, adds


def _axes(operation: Operation) -> list[int]:
    given = operation.argument(1, "dim", operation.kwargs.get("axis"))
    rank = len(operation.before)
    if given is None:
        return list(range(rank))
    axes: Sequence[int] = given if isinstance(given, list | tuple) else [given]
    return [axis % rank for axis in axes] or list(range(rank))


def mean(operation: Operation, x: Name, axes: Sequence[int], keep: bool = True) -> Name:
    """The mean over axes."""
    return operation.op("ReduceMean", [x], axes=list(axes), keepdims=int(keep))


@adds("mean", "amax", "amin")
def reduce(operation: Operation) -> Name:
    """Over some axes."""
    kind = {"mean": "ReduceMean", "amax": "ReduceMax", "amin": "ReduceMin"}[operation.name]
    keep = int(operation.argument(2, "keepdim", False))
    return operation.op(kind, [operation.x], axes=_axes(operation), keepdims=keep)


@adds("sum")
def total(operation: Operation) -> Name:
    """Over some axes."""
    axes = operation.writer.integers(*_axes(operation))
    return operation.op("ReduceSum", [operation.x, axes], keepdims=int(operation.argument(2, "keepdim", False)))


@adds("cumsum")
def total_so_far(operation: Operation) -> Name:
    """Up to each place of an axis."""
    axis = operation.writer.constant(np.int64(operation.axis(1, "dim")))
    return operation.op("CumSum", [operation.x, axis])


def variance_of(operation: Operation, x: Name, axes: Sequence[int]) -> tuple[Name, Name]:
    """What lies beside the mean over axes, and the mean of its squares."""
    apart = operation.op("Sub", [x, mean(operation, x, axes)])
    return apart, mean(operation, operation.op("Mul", [apart, apart]), axes)


@adds("var", "std")
def variance(operation: Operation) -> Name:
    """Over some axes."""
    correction = operation.kwargs.get("correction", int(operation.kwargs.get("unbiased", True)))
    if len(operation.args) > 2:
        operation.refuse("has an ONNX form with named options alone")
    axes, count = _axes(operation), 1
    for axis in axes:
        count *= operation.size_known(axis) if correction else 1
    _, found = variance_of(operation, operation.x, axes)
    if correction:
        found = operation.op("Mul", [found, count / (count - correction)])
    if not operation.kwargs.get("keepdim", False):
        found = operation.op("Squeeze", [found, operation.writer.integers(*axes)])
    return operation.op("Sqrt", [found]) if operation.name == "std" else found
