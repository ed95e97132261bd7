"""Products with features of 9 to 16 bits: the two bytes of each integer are multiplied by themselves, then added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np

from kaldi_quant.backends.onnx.writer import FLOAT, UINT8
from kaldi_quant.quant.spec import LARGEST_BYTE

_BASE = LARGEST_BYTE + 1

Value = TypeVar("Value")


class Operators(Protocol[Value]):
    """What an ONNX graph in the making can do."""

    def constant(self, value: Any) -> Value:
        """A constant; value: a numpy array or scalar."""

    def op(self, kind: str, inputs: list[Value], **attributes: Any) -> Value:
        """An operator with one output."""


def wide_sums(graph: Operators[Value], integers: Value, weight: Value, zero_points: Value, bias: Value) -> Value:
    """The accumulators of a layer.

    Args:
        graph: to add the operators to.
        integers: the layer's input, (..., in) float32, each an integer from 0 to 2^16 - 1.
        weight: (in, out), 8-bit integers.
        zero_points: (out,), of the weight.
        bias: (out,) int32; makes up for the zero points of the input.

    Returns:
        the 32-bit accumulators, (..., out), rounded to float32.
    """
    zero = graph.constant(np.uint8(0))
    sums = byte_sums(graph, integers, lambda byte: graph.op("MatMulInteger", [byte, weight, zero, zero_points]))
    return graph.op("Cast", [graph.op("Add", [sums, bias])], to=FLOAT)


def byte_sums(graph: Operators[Value], integers: Value, product: Callable[[Value], Value]) -> Value:
    """A product with wide integers, from those of their bytes.

    Args:
        graph: to add the operators to.
        integers: float32, each an integer from 0 to 2^16 - 1.
        product: of uint8 integers: int32.
    """
    of_high, of_low = (product(graph.op("Cast", [byte], to=UINT8)) for byte in bytes_of(graph, integers))
    return graph.op("Add", [graph.op("Mul", [of_high, graph.constant(np.int32(_BASE))]), of_low])


def bytes_of(graph: Operators[Value], integers: Value) -> tuple[Value, Value]:
    """The high and the low byte of integers from 0 to 2^16 - 1, all of them float32."""
    base = graph.constant(np.float32(_BASE))
    high = graph.op("Floor", [graph.op("Div", [integers, base])])
    low = graph.op("Sub", [integers, graph.op("Mul", [high, base])])
    return high, low
