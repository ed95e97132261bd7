"""Weights and biases of integer layers as ONNX constants, behind DequantizeLinear."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from kaldi_quant.backends.onnx.wide import wide_sums
from kaldi_quant.backends.onnx.writer import GraphWriter, Name
from kaldi_quant.errors import ModelError
from kaldi_quant.quant.integer_linear import IntegerLinear
from kaldi_quant.quant.spec import LARGEST_BYTE

#: How weights are stored: int8, which every device runs fastest; or uint8 where a processor without instructions for
#: such products (VNNI) would saturate sums of two int8 products at 16 bits, as onnxruntime's kernels for it do.
WeightForm = Literal["signed", "exact"]

_LARGEST_SUM_OF_TWO = 2**15 - 1
_MIDDLE = 128


def can_saturate(layer: IntegerLinear) -> bool:
    """Whether the sum of two products of a layer's integers can leave 16 bits."""
    return 2 * min(layer.inputs.qmax, LARGEST_BYTE) * int(_stored(layer)[0].abs().max()) > _LARGEST_SUM_OF_TWO


def _stored(layer: IntegerLinear) -> tuple:
    """The integers of a weight with one zero point for all rows: (integers, zero point)."""
    zero_points = layer.weight.zero_point
    if len(zero_points) == 0 or (zero_points == zero_points[0]).all():
        return layer.weight.integers, int(zero_points.flatten()[0]) if len(zero_points) else 0
    return layer.weight.centred, 0


def check_widths(name: str, layer: IntegerLinear) -> None:
    """Refuses a layer whose weights do not fit 8 bits.

    Raises:
        ModelError: they do not; names the layer.
    """
    integers, _ = _stored(layer)
    fits = len(integers) > 0 and int(integers.min()) >= -_MIDDLE and int(integers.max()) < _MIDDLE
    if not fits or layer.inputs.qmin < 0:
        raise ModelError(f"the layer {name} has integers wider than 8 bits, which the integer kernels do not multiply")


@dataclass(frozen=True)
class LinearParameters:
    """A layer's integers, made ready for a graph.

    Args:
        weight: (out, in) int64, as stored, zero point included.
        weight_zero: the zero point of all rows.
        weight_scale: (out,) float32.
        bias: (out,) int32, what differing zero points of the input's columns add included.
        bias_scale: (out,) float32.
        input_scale: float32 of all columns.
        input_zero: of all columns.
        wide: whether the input's integers need more than 8 bits.
        unsigned: whether weights are stored as uint8.
    """

    weight: np.ndarray
    weight_zero: int
    weight_scale: np.ndarray
    bias: np.ndarray
    bias_scale: np.ndarray
    input_scale: np.float32
    input_zero: int
    wide: bool
    unsigned: bool

    @classmethod
    def of(cls, name: str, layer: IntegerLinear, form: WeightForm) -> LinearParameters:
        """The parameters of a layer.

        Raises:
            ModelError: its integers are wider than 8 bits.
        """
        check_widths(name, layer)
        integers, zero = _stored(layer)
        bias, input_zero = layer.bias.numpy().astype(np.int64), int(layer.inputs.zero_point[0])
        wide = layer.inputs.qmax > LARGEST_BYTE
        if layer.inputs.per_column or wide:
            # What the zero points of columns contribute is constant.
            bias = bias - layer.weight.centred.numpy().astype(np.int64) @ layer.inputs.zero_point.numpy()
        if layer.inputs.per_column:
            input_zero = 0
        return cls(
            integers.numpy().astype(np.int64),
            zero,
            layer.weight.scale[:, 0].numpy(),
            bias.astype(np.int32),
            layer.accumulator_scale.numpy(),
            np.float32(layer.inputs.common_scale.item()),
            input_zero,
            wide,
            form == "exact" and can_saturate(layer),
        )

    def padded_rows(self, rows: int) -> LinearParameters:
        """With rows of zeros at the end, whose results are zero."""
        more = rows - len(self.weight)
        return replace(
            self,
            weight=np.pad(self.weight, [(0, more), (0, 0)], constant_values=self.weight_zero),
            weight_scale=np.pad(self.weight_scale, (0, more), constant_values=1),
            bias=np.pad(self.bias, (0, more)),
            # onnxruntime takes a layer for one of integers only where this is the product of the other two.
            bias_scale=np.pad(self.bias_scale, (0, more), constant_values=self.input_scale),
        )

    def write(self, writer: GraphWriter, name: Name, arranged: np.ndarray) -> tuple[Name, Name]:
        """Adds weight and bias to a graph; returns the names of their float values.

        Args:
            writer: the graph.
            name: the layer's.
            arranged: the weight's integers in the operator's own order of axes, rows first.
        """
        integers, zeros = self.stored(arranged)
        weight = [
            writer.constant(integers, f"{name}.weight.integers"),
            writer.constant(self.weight_scale, f"{name}.weight.scale"),
            writer.constant(zeros, f"{name}.weight.zero_point"),
        ]
        bias = [
            writer.constant(self.bias, f"{name}.bias.integers"),
            writer.constant(self.bias_scale, f"{name}.bias.scale"),
            writer.constant(np.zeros(len(arranged), np.int32), f"{name}.bias.zero_point"),
        ]
        return (
            writer.op("DequantizeLinear", weight, f"{name}.weight", axis=0),
            writer.op("DequantizeLinear", bias, f"{name}.bias", axis=0),
        )

    def stored(self, arranged: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights, rows first, and their zero points, (out,), as 8-bit integers of the form that is used."""
        shift, dtype = (_MIDDLE, np.uint8) if self.unsigned else (0, np.int8)
        zeros = np.full(len(arranged), self.weight_zero + shift).astype(dtype)
        return (arranged + shift).astype(dtype), zeros

    def input(self, writer: GraphWriter, integers: Name) -> Name:
        """The input's float values, as the weights are for them."""
        constants = [writer.constant(self.input_scale), writer.constant(np.uint8(self.input_zero))]
        return writer.op("DequantizeLinear", [integers, *constants], f"{integers}.float")

    def wide_sums(self, writer: GraphWriter, name: Name, integers: Name) -> Name:
        """Adds the product with a wide input; returns the name of the accumulators, (..., out) in float32.

        Args:
            writer: the graph.
            name: the layer's.
            integers: (..., in) in float32, zero points included.
        """
        weight, zero_points = self.stored(self.weight)
        constants = [
            writer.constant(np.ascontiguousarray(weight.T), f"{name}.weight.integers"),
            writer.constant(zero_points, f"{name}.weight.zero_point"),
            writer.constant(self.bias, f"{name}.bias.integers"),
        ]
        return wide_sums(writer, integers, *constants)
