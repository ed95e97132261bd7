"""The integer form of a linear component: the reference that defines the result.

    output = weight_scale * (sum over columns of (input - zero_point) * weight + bias)

in integers but for the last product. Every column of the input has a scale of its own, which is multiplied into the
weights before they are quantized: inputs of several nodes, and features of very different ranges, share an accumulator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.grid import Grid

ACCUMULATOR_LIMIT = 2**31


@dataclass(frozen=True)
class InputGrid:
    """The grids of a linear component's input, one scale and zero point a column.

    Args:
        scale: (in,) float32.
        zero_point: (in,) int32.
        qmin: the smallest integer of any column.
        qmax: the largest.
    """

    scale: Tensor
    zero_point: Tensor
    qmin: int
    qmax: int

    def integers(self, x: Tensor) -> Tensor:
        """The integers behind values on the grid, less the zero point. x: (..., in) float → (..., in) float64."""
        return (x.double() / self.scale.double()).round()


@dataclass(frozen=True)
class IntegerLinear:
    """A linear component in integers.

    Args:
        weight: (out, in) int32, for the input times its scale.
        weight_scale: (out, 1) float32.
        bias: (out,) int32, in steps of ``weight_scale``.
        inputs: the grids of the input.
        bits: width of the weights.
    """

    weight: Tensor
    weight_scale: Tensor
    bias: Tensor
    inputs: InputGrid
    bits: int

    @classmethod
    def build(cls, grid: Grid, weight: Tensor, bias: np.ndarray | Tensor, inputs: InputGrid) -> IntegerLinear:
        """Puts the integers together.

        Args:
            grid: the weights' grid, scale (out, 1) or ().
            weight: (out, in) int32.
            bias: (out,) float64, of the layer as it is with these weights.
            inputs: the grids of the input.

        Raises:
            UsageError: the widths would overflow 32-bit accumulators.
        """
        scale = grid.scale.expand(len(weight), 1).contiguous()
        largest = max(abs(inputs.qmin), abs(inputs.qmax), inputs.qmax - inputs.qmin)
        sums = weight.abs().sum(1).double() * largest
        steps = (torch.as_tensor(bias).double() / scale[:, 0].double()).round()
        if len(sums) and float((sums + steps.abs()).max()) >= ACCUMULATOR_LIMIT:
            raise UsageError(
                f"{grid.spec.bits}-bit weights and activations of {largest} steps over {weight.shape[1]} columns "
                "overflow 32-bit accumulators: choose fewer bits"
            )
        return cls(weight, scale, steps.to(torch.int32), inputs, grid.spec.bits)

    def accumulate(self, integers: Tensor) -> Tensor:
        """(..., in) integers without zero point, float64 → (..., out) accumulators, float64 and exact."""
        return integers @ self.weight.double().T + self.bias.double()

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in) float on the input's grid → (..., out) float32."""
        return self.accumulate(self.inputs.integers(x)).float() * self.weight_scale[:, 0]

    def dequantized_weight(self) -> Tensor:
        """(out, in) float32: the weights for a float input."""
        return (self.weight.double() * self.weight_scale.double() / self.inputs.scale.double()).float()

    def dequantized_bias(self) -> Tensor:
        """(out,) float32."""
        return self.bias.float() * self.weight_scale[:, 0]
