"""The integer form of a linear component: the reference that defines the result.

With ranges that are known beforehand,

    accumulator = sum over columns of (input - zero_point) * (weight - zero_point) + bias

is exact in 32-bit integers. It either becomes a float by one product, or goes straight to the grid of the next node:

    steps = float32(accumulator) * multiplier,   multiplier = (input_scale * weight_scale) / output_scale  in float32
    output = clamp(round_half_to_even(steps) + zero_point)

which are the operations, in the same order, of the integer kernels in onnxruntime (``MlasRequantizeOutput``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.scale_groups import blocked
from kaldi_quant.quant.spec import QSpec

ACCUMULATOR_LIMIT = 2**31

# A row of zero weights may have any scale: this many steps for its bias leave it all the precision of its float.
_STEPS_OF_A_LONE_BIAS = 2**22
# A bias alone may take up this share of the accumulator; rows of tiny weights get a coarser scale.
_LARGEST_BIAS = ACCUMULATOR_LIMIT / 4


@dataclass(frozen=True)
class InputGrid:
    """The grids of a linear component's input.

    Args:
        scale: (in,) float32, of each column.
        zero_point: (in,) int32.
        qmin: the smallest integer of any column.
        qmax: the largest.
        per_column: whether columns differ in scale. Then the scales are multiplied into the weights before these are
            quantized, so that features of very different ranges share an accumulator.
    """

    scale: Tensor
    zero_point: Tensor
    qmin: int
    qmax: int
    per_column: bool

    @property
    def common_scale(self) -> Tensor:
        """() float32: what the accumulator's scale takes from the input."""
        return torch.ones((), device=self.scale.device) if self.per_column else self.scale[0]

    @property
    def largest(self) -> int:
        """What no integer of the input exceeds, with or without its zero point."""
        return max(abs(self.qmin), abs(self.qmax), self.qmax - self.qmin)

    @property
    def folded(self) -> Tensor:
        """(in,) float64: what the float weights' columns are multiplied by before they are quantized."""
        return self.scale.double() if self.per_column else torch.ones(len(self.scale), dtype=torch.float64)

    def integers(self, x: Tensor) -> Tensor:
        """The integers behind values on the grid, less the zero point.

        Args:
            x: (..., groups * in) float.

        Returns:
            As x, float64.
        """
        return (x.double().unflatten(-1, (-1, len(self.scale))) / self.scale.double()).round().flatten(-2)


def least_scale(bias: Tensor, inputs: InputGrid) -> Tensor:
    """The weights' scales from which on the bias fits the accumulator.

    Args:
        bias: (out,) float64.
        inputs: the grids of the layer's input.

    Returns:
        (out, 1) float32.
    """
    return (bias.abs() / inputs.common_scale.double() / _LARGEST_BIAS).float().unsqueeze(1)


@dataclass(frozen=True)
class IntegerLinear:
    """A linear component in integers, with ranges known beforehand.

    Args:
        weight: for the input in steps of its common scale.
        bias: (out,) int32, in steps of ``accumulator_scale``.
        inputs: the grids of the input.
    """

    weight: QuantizedWeight
    bias: Tensor
    inputs: InputGrid

    @classmethod
    def build(cls, weight: QuantizedWeight, bias: np.ndarray | Tensor, inputs: InputGrid) -> IntegerLinear:
        """Puts the integers together.

        Args:
            weight: for the input's integers.
            bias: (out,) float64, of the layer as it is with these weights.
            inputs: the grids of the input.

        Raises:
            UsageError: the widths would overflow 32-bit accumulators.
        """
        bias = torch.as_tensor(bias).double()
        empty = ~(weight.centred != 0).any(1, keepdim=True)
        lone = (bias.abs().unsqueeze(1) / _STEPS_OF_A_LONE_BIAS / inputs.common_scale.double()).float()
        weight = replace(weight, scale=torch.where(empty & (lone > 0), lone, weight.scale))
        steps = (bias / (inputs.common_scale * weight.scale[:, 0]).double()).round()
        check_accumulator(weight, inputs.largest, steps)
        return cls(weight, steps.to(torch.int32), inputs)

    @property
    def accumulator_scale(self) -> Tensor:
        """(out,) float32."""
        return self.inputs.common_scale * self.weight.scale[:, 0]

    def accumulate(self, integers: Tensor) -> Tensor:
        """(..., groups * in) integers without zero point, float64 → (..., out) accumulators, float64 and exact."""
        return self.weight.sums(integers) + self.bias.double()

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., groups * in) float on the input's grid → (..., out) float32."""
        return self.accumulate(self.inputs.integers(x)).float() * self.accumulator_scale

    def steps(self, x: Tensor, output: Grid) -> Tensor:
        """x: (..., groups * in) float on the input's grid → (..., out) float32 in the output's steps, unrounded."""
        return self.accumulate(self.inputs.integers(x)).float() * (self.accumulator_scale / output.scale)

    def dequantized_weight(self) -> Tensor:
        """(out, in) float32: the weights for a float input."""
        return (self.weight.dequantized() / self.inputs.folded).float()

    def dequantized_bias(self) -> Tensor:
        """(out,) float32."""
        return self.bias.float() * self.accumulator_scale


@dataclass(frozen=True)
class DynamicLinear:
    """A linear component whose input is put on a grid of its own at every call, over its least and greatest value.

    Args:
        weight: for a float input.
        bias: (out,) float32.
        spec: the input's width.
    """

    weight: QuantizedWeight
    bias: Tensor
    spec: QSpec

    @classmethod
    def build(cls, weight: QuantizedWeight, bias: np.ndarray | Tensor, spec: QSpec) -> DynamicLinear:
        """Puts a layer together; bias: (out,) float64.

        Raises:
            UsageError: the widths would overflow 32-bit accumulators.
        """
        bias = torch.as_tensor(bias)
        check_accumulator(weight, spec.qmax - spec.qmin, torch.zeros_like(bias))
        return cls(weight, bias.float(), spec)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, ..., groups * in) float → (N, ..., out) float32; each of the N sequences has a grid of its own."""
        x, grid = of_each_sequence(x, self.spec)
        integers = (grid.quantize(x) - grid.zero_point).double()
        return self.weight.scaled_sums(integers, grid.scale) + self.bias

    def dequantized_weight(self) -> Tensor:
        """(out, in) float32."""
        return self.weight.dequantized().float()

    def dequantized_bias(self) -> Tensor:
        """(out,) float32."""
        return self.bias


def of_each_sequence(x: Tensor, spec: QSpec) -> tuple[Tensor, Grid]:
    """What a layer with dynamic ranges reads, and its grids.

    Args:
        x: (N, ..., columns) float.
        spec: of the grids.

    Returns:
        x with zeros in the place of what is not finite, and for each of the N sequences the grid over its least and its
        greatest value, scale and zero point (N, 1, ..., 1); it has no gradient.
    """
    # Rows that no output depends on may hold anything (see ``rows_that_count``).
    x = torch.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
    flat = x.detach().flatten(1)
    shape = (len(x),) + (1,) * (x.dim() - 1)
    return x, Grid.from_range(spec, flat.amin(1).view(shape), flat.amax(1).view(shape))


def check_accumulator(weight: QuantizedWeight, largest: int, bias: Tensor) -> None:
    """Refuses widths that overflow.

    Args:
        weight: of the layer.
        largest: the largest integer of the input, less its zero point.
        bias: (out,) in steps.

    Raises:
        UsageError: they do.
    """
    columns = weight.integers.shape[1]
    parts = blocked(weight.centred.abs(), weight.spec.group_size or columns)
    sums = parts.sum(-1).double() * largest
    if len(sums) and float((sums + bias.abs().unsqueeze(1)).max()) >= ACCUMULATOR_LIMIT:
        raise UsageError(
            f"{weight.spec.bits}-bit weights and activations of {largest} steps over {parts.shape[-1]} "
            "columns overflow 32-bit accumulators: choose fewer bits"
        )
