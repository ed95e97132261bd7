"""What leaves values out where a mask is true, in float; masks are of booleans."""

from __future__ import annotations

import math

import numpy as np

from kaldi_quant.backends.onnx.writer import BOOL, Name
from kaldi_quant.torchnn.onnx.operation import Emitter, Operation, adds
from kaldi_quant.torchnn.onnx.operations.activations import softmax_rounded_once
from kaldi_quant.torchnn.onnx.sizes import Number


@adds("masked_fill")
def masked_fill(operation: Operation) -> Name:
    """A number where a mask is true; zero also among integers."""
    value, mask = operation.argument(2, "value"), operation.argument(1, "mask")
    filled_in = operation.writer.constant(operation.zero) if value == 0 else operation.tensor(2, "value")
    return operation.op("Where", [mask.floats, filled_in, operation.x])


@adds("where")
def where(operation: Operation) -> Name:
    """One where a mask is true, else the other."""
    if len(operation.args) + len(operation.kwargs) != 3:
        operation.refuse("has an ONNX form with two values to choose from alone")
    mask, one, other = ((0, "condition"), (1, "input"), (2, "other"))
    return operation.op("Where", [operation.tensor(*each) for each in (mask, one, other)])


@adds("logical_not", "bitwise_not", "invert")
def logical_not(operation: Operation) -> Name:
    """True where a mask is false."""
    if operation.example.dtype.is_floating_point or operation.example.dtype.is_signed:
        operation.refuse("has an ONNX form of booleans alone")
    return operation.op("Not", [operation.x])


def _comparison(kind: str, is_not: bool = False) -> Emitter:
    def emit(operation: Operation) -> Name:
        found = operation.op(kind, [operation.x, operation.tensor(1, "other")])
        return operation.op("Not", [found]) if is_not else found

    return emit


for _function, _kind in {
    "eq": "Equal",
    "lt": "Less",
    "gt": "Greater",
    "le": "LessOrEqual",
    "ge": "GreaterOrEqual",
}.items():
    adds(_function)(_comparison(_kind))
adds("ne")(_comparison("Equal", is_not=True))


@adds("full", "ones")
def filled(operation: Operation) -> Name:
    """One number everywhere."""
    if not operation.example.is_floating_point():
        operation.refuse("has an ONNX form of floats alone")
    sizes = operation.argument(0, "size")
    given: list[Number] = list(sizes) if isinstance(sizes, list | tuple) else list(operation.args)
    known = [wanted if size is None else size for wanted, size in zip(given, operation.after, strict=True)]
    value = 1.0 if operation.name == "ones" else operation.argument(1, "fill_value")
    return operation.op("Expand", [value, operation.sizes.vector(known)])


@adds("triu", "tril")
def triangle(operation: Operation) -> Name:
    """Zeros on one side of a diagonal."""
    diagonal = operation.writer.constant(np.int64(operation.argument(1, "diagonal", 0)))
    return operation.op("Trilu", [operation.x, diagonal], upper=int(operation.name == "triu"))


@adds("without_later_keys")
def without_later_keys(operation: Operation) -> Name:
    """Scores, minus infinity above their diagonal."""
    sizes = operation.sizes.vector(operation.x_sizes()[-2:])
    ones = operation.op("Expand", [1.0, sizes])
    kept = operation.op("Cast", [operation.op("Trilu", [ones], upper=0)], to=BOOL)
    return operation.op("Where", [kept, operation.x, -math.inf])


@adds("masked_softmax")
def masked_softmax(operation: Operation) -> Name:
    """Over the last axis; zeros where all values are minus infinity."""
    largest = operation.op("ReduceMax", [operation.x], axes=[-1], keepdims=1)
    nothing = operation.op("Equal", [largest, -math.inf])
    return operation.op("Where", [nothing, 0.0, softmax_rounded_once(operation, -1)])
