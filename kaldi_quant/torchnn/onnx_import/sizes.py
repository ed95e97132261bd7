"""Operators of ONNX on sizes of tensors, as they make the shapes that others are told."""

from __future__ import annotations

import operator as python
from collections.abc import Callable

import numpy as np
from torch import fx

from kaldi_quant.registry import Registry
from kaldi_quant.torchnn.onnx_import.operator import Handler, Operator
from kaldi_quant.torchnn.onnx_import.values import Number, numbers

#: What computes with sizes, by the operator's name in ONNX.
SIZES: Registry[Handler] = Registry("ONNX operator on sizes")


def _array(operator: Operator, place: int) -> np.ndarray:
    found = operator.value(place)
    if not isinstance(found, np.ndarray):
        operator.refuse("computes with sizes and with other values")
    return found


def _chosen(operator: Operator, choose: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """What a move chooses from sizes."""
    found = _array(operator, 0)
    places = np.arange(found.size).reshape(found.shape)
    try:
        chosen = np.asarray(choose(places))
    except (ValueError, IndexError) as error:
        operator.refuse(f"does not fit the sizes that it reads: {error}")
    flat = found.reshape(-1)
    return numbers((flat[place] for place in chosen.reshape(-1)), chosen.shape)


@SIZES.add("Identity")
def identity(operator: Operator) -> np.ndarray:
    """The same."""
    return _array(operator, 0)


@SIZES.add("Cast")
def cast(operator: Operator) -> np.ndarray:
    """To whole numbers."""
    from onnx import TensorProto

    if operator.attribute("to") not in (TensorProto.INT64, TensorProto.INT32):
        operator.refuse("makes numbers that are not whole of sizes, which is not understood")
    operator.attribute("saturate")
    return _array(operator, 0)


@SIZES.add("Gather")
def gather(operator: Operator) -> np.ndarray:
    """Some, by place."""
    index, axis = operator.constant(1, "places"), operator.attribute("axis", 0)
    return _chosen(operator, lambda x: x.take(index, axis))


@SIZES.add("Slice")
def cut(operator: Operator) -> np.ndarray:
    """A stretch."""
    first, last = (operator.constant(place, "bounds").reshape(-1) for place in (1, 2))
    steps = operator.constant(4, "steps").reshape(-1) if operator.has(4) else np.ones(1, int)
    if len(first) != 1 or len(last) != 1 or len(steps) != 1:
        operator.refuse("cuts several axes of sizes")
    return _chosen(operator, lambda x: x[slice(int(first[0]), int(last[0]), int(steps[0]))])


@SIZES.add("Concat")
def concat(operator: Operator) -> np.ndarray:
    """One after another."""
    operator.attribute("axis")
    arrays = [_array(operator, place) for place in range(len(operator.node.input))]
    if any(array.ndim != 1 for array in arrays):
        operator.refuse("puts sizes together that are no vectors")
    return numbers((one for array in arrays for one in array), (sum(map(len, arrays)),))


@SIZES.add("Unsqueeze")
def unsqueeze(operator: Operator) -> np.ndarray:
    """With axes of one."""
    axes = operator.integers(1, "axes", since=13) or []
    return _chosen(operator, lambda x: np.expand_dims(x, tuple(axes)))


@SIZES.add("Squeeze")
def squeeze(operator: Operator) -> np.ndarray:
    """Without axes of one."""
    axes = operator.integers(1, "axes", since=13)
    return _chosen(operator, lambda x: x.squeeze(None if axes is None else tuple(axes)))


@SIZES.add("Reshape")
def reshape(operator: Operator) -> np.ndarray:
    """In another arrangement."""
    operator.attribute("allowzero")
    shape = [int(one) for one in operator.constant(1, "a shape").reshape(-1)]
    return _chosen(operator, lambda x: x.reshape(shape))


def _pairwise(operator: Operator, compute: Callable[[Number, Number], Number]) -> np.ndarray:
    one, other = np.broadcast_arrays(_array(operator, 0), _array(operator, 1), subok=False)
    pairs = zip(one.reshape(-1).tolist(), other.reshape(-1).tolist(), strict=True)
    return numbers([compute(a, b) for a, b in pairs], one.shape)


def _arithmetic(function: Callable[[int, int], int]) -> Handler:
    def compute(operator: Operator) -> np.ndarray:
        def of_two(one: Number, other: Number) -> Number:
            if isinstance(one, int) and isinstance(other, int):
                return function(one, other)
            return operator.call(function, one, other)

        return _pairwise(operator, of_two)

    return compute


SIZES.add("Add")(_arithmetic(python.add))
SIZES.add("Sub")(_arithmetic(python.sub))
SIZES.add("Mul")(_arithmetic(python.mul))
# Sizes are not negative.
SIZES.add("Div")(_arithmetic(python.floordiv))


@SIZES.add("Equal")
def equal(operator: Operator) -> np.ndarray:
    """Whether sizes are negative numbers, which stand for something else in shapes."""

    def of_two(one: Number, other: Number) -> Number:
        if isinstance(one, int) and isinstance(other, int):
            return int(one == other)
        if not any(isinstance(x, int) and x < 0 for x in (one, other)):
            operator.refuse("compares sizes that are not known")
        return 0

    return _pairwise(operator, of_two).astype(bool)


@SIZES.add("Where")
def where(operator: Operator) -> np.ndarray:
    """One or the other."""
    arrays = np.broadcast_arrays(operator.constant(0, "a condition"), _array(operator, 1), _array(operator, 2))
    rows = zip(*(array.reshape(-1).tolist() for array in arrays), strict=True)
    return numbers([one if chosen else other for chosen, one, other in rows], arrays[0].shape)


@SIZES.add("ReduceProd")
def product(operator: Operator) -> np.ndarray:
    """How many values there are."""
    axes = operator.integers(1, "axes", since=18)
    found = _array(operator, 0)
    if found.ndim != 1 or axes not in (None, [0], [-1]):
        operator.refuse("multiplies sizes along some axes")
    keeps = operator.attribute("keepdims", 1)
    operator.attribute("noop_with_empty_axes")
    whole: Number = 1
    for size in found.tolist():
        known = isinstance(whole, int) and isinstance(size, int)
        whole = whole * size if known else operator.call(python.mul, whole, size)
    return numbers([whole], (1,) if keeps else ())


def sizes_of(operator: Operator, x: fx.Node) -> list[Number]:
    """The sizes of an operator's first input, a tensor of the network: numbers where they are always the same."""
    known = [operator.known_size(0, axis) for axis in range(operator.rank())]
    return [operator.method("size", x, axis) if size is None else size for axis, size in enumerate(known)]
