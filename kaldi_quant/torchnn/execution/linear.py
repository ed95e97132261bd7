"""Fully connected layers on compiled kernels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.backends.kernels.products import (
    PackedWeight,
    multiply_to_bytes,
    multiply_to_floats,
    requantize_rows,
    scale_rows,
)
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import InputGrid, IntegerLinear
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.spec import LARGEST_BYTE, QSpec
from kaldi_quant.torchnn.execution.run import Action, Run
from kaldi_quant.torchnn.execution.values import GridValue, fits_bytes, integers_on

# From so many rows on PyTorch's product of matrices is faster, which has AMX where the processor has.
_MANY_ROWS = 32
# PyTorch's product takes signed bytes: unsigned ones less this.
_MIDDLE = 128
_SIGN_BIT = 0x80


def signed_bytes_of(weight: QuantizedWeight) -> np.ndarray | None:
    """(out, in) int8: a weight less its zero point; None where it needs more bits or columns have groups of scales."""
    centred = weight.centred
    if weight.is_groupwise or not centred.numel() or not -128 <= int(centred.min()) <= int(centred.max()) <= 127:
        return None
    return centred.to(torch.int8).numpy()


def signed_bytes(weight: QuantizedWeight) -> np.ndarray | None:
    """As ``signed_bytes_of``; None where rows read groups of the input's columns, too."""
    return None if weight.groups > 1 else signed_bytes_of(weight)


@dataclass(frozen=True)
class LinearKernel:
    """A fully connected layer with static ranges.

    Args:
        packed: the weights.
        columns: (in, out) int8, the same for PyTorch's product.
        bias: (filled up,) int32, less what the input's zero points add.
        bias_of_signed: (out,) int32, likewise for bytes with sign.
        inputs: the grids of the input.
        factor: (filled up,) float32: floats, or steps of the output's grid, for each unit of the sums.
        output: the grid that the result goes to; None where it is wanted in float.
        least: what integers of the result are at least.
    """

    packed: PackedWeight
    columns: Tensor
    bias: np.ndarray
    bias_of_signed: np.ndarray
    inputs: Grid
    factor: np.ndarray
    output: Grid | None
    least: int

    @classmethod
    def of(cls, layer: IntegerLinear, output: Grid | None, relu: bool) -> LinearKernel | None:
        """The kernel of a layer; None where it needs more than bytes.

        Args:
            layer: in question.
            output: the grid that its result goes to.
            relu: whether negative results become zero.
        """
        weight, inputs = signed_bytes(layer.weight), columns_grid(layer.inputs)
        if weight is None or inputs is None or (output is not None and not fits_bytes(output)):
            return None
        packed = PackedWeight.of(weight)
        wide = layer.weight.centred.long()
        bias = layer.bias.long() - wide @ layer.inputs.zero_point.long()
        factor = layer.accumulator_scale if output is None else layer.accumulator_scale / output.scale
        least = 0 if output is None else int(output.zero_point) if relu else output.spec.qmin
        return cls(
            packed,
            torch.from_numpy(weight).T,
            packed.of_rows(bias.numpy(), np.int32),
            (bias + _MIDDLE * wide.sum(1)).int().numpy(),
            inputs,
            packed.of_rows(factor.numpy(), np.float32),
            output,
            least,
        )

    def __call__(self, run: Run, value: GridValue | Tensor) -> GridValue | Tensor:
        """The layer's result; value: (..., in)."""
        x = run.contiguous(integers_on(run, self.inputs, value))
        rows, shape = x.view(-1, self.packed.columns), (*x.shape[:-1], self.packed.rows)
        result = torch.empty(shape, dtype=torch.float32 if self.output is None else torch.uint8)
        run.do(self._product(rows, result.view(-1, self.packed.rows).numpy()))
        return result if self.output is None else GridValue(self.output, result)

    def _product(self, rows: Tensor, out: np.ndarray) -> Action:
        """Multiplies rows, (n, in), and writes the result, (n, out)."""
        ends = () if self.output is None else (int(self.output.zero_point), self.least, self.output.spec.qmax)
        if len(rows) < _MANY_ROWS:
            multiply = multiply_to_floats() if self.output is None else multiply_to_bytes()
            return partial(multiply, self.packed.values, rows.numpy(), self.bias, self.factor, *ends, out)
        finish: Any = scale_rows if self.output is None else requantize_rows
        return lambda: finish(self._sums(rows), self.bias_of_signed, self.factor, *ends, out)

    def _sums(self, rows: Tensor) -> np.ndarray:
        return torch._int_mm((rows ^ _SIGN_BIT).view(torch.int8), self.columns).numpy()


def columns_grid(inputs: InputGrid) -> Grid | None:
    """The grids of a layer's columns, scale (in,), or () where they are alike; None where that are no bytes."""
    if inputs.qmin or inputs.qmax > LARGEST_BYTE or inputs.qmax + 1 != 1 << inputs.qmax.bit_length():
        return None
    spec = QSpec(inputs.qmax.bit_length(), signed=False, symmetric=False)
    scale, zero_point = inputs.scale, inputs.zero_point
    if bool((scale == scale[0]).all()) and bool((zero_point == zero_point[0]).all()):
        scale, zero_point = scale[0], zero_point[0]
    return Grid(spec, scale, zero_point)
