"""What stands in for the float products and sums of a network that PyTorch's integer kernels compute.

Nodes on grids hold uint8 integers. A product whose input may be absent, and then is zero, is given floats on the grid.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from kaldi_quant.kaldi.component import Component
from kaldi_quant.nnet3.components.base import FrameComponent
from kaldi_quant.quant.grid import SMALLEST_SCALE, Grid
from kaldi_quant.quant.integer_graph import Term
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.integer_sum import integer_sum
from kaldi_quant.quant.spec import LARGEST_BYTE, QSpec
from kaldi_quant.quant.torch_native.engines import Engine
from kaldi_quant.quant.torch_native.kernels import as_quantized, integers_of, kernel_for


class StaticProduct(nn.Module):
    """The product of a layer whose ranges are known beforehand.

    Args:
        layer: in integers.
        engine: whose kernels multiply.
        output: the grid of its result; None where it is wanted in float.
        relu: whether a ReLU is on the way to that grid.
    """

    def __init__(self, layer: IntegerLinear, engine: Engine, output: Grid | None, relu: bool) -> None:
        super().__init__()
        self.inputs, self.output, self.relu = layer.inputs, output, relu
        self.scale, self.zero_point = float(layer.inputs.common_scale), int(layer.inputs.zero_point[0])
        bias = layer.bias.double()
        if layer.inputs.per_column:
            # The kernels know one zero point for all columns: those of columns go into the bias.
            self.zero_point = 0
            bias = bias - layer.weight.centred.double() @ layer.inputs.zero_point.double()
        self.kernel = kernel_for(engine, layer.weight, (bias * layer.accumulator_scale.double()).float())

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: (..., in), uint8, or float on the grid of the input → (..., out) uint8, or float32 without a grid."""
        if x.dtype != torch.uint8:
            steps = (x / self.inputs.scale).round_().add_(self.inputs.zero_point)
            x = steps.clamp_(self.inputs.qmin, self.inputs.qmax).to(torch.uint8)
        if self.output is None:
            return self.kernel.to_float(x, self.scale, self.zero_point)
        return self.kernel.to_grid(x, self.scale, self.zero_point, self.output, self.relu)


class DynamicProduct(nn.Module):
    """The product of a layer whose input is put on a grid of its own at every call, each sequence on its own.

    Args:
        layer: with integer weights.
        engine: whose kernels multiply.
    """

    def __init__(self, layer: DynamicLinear, engine: Engine) -> None:
        super().__init__()
        self.spec = layer.spec
        self.kernel = kernel_for(engine, layer.weight, layer.bias)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: (N, ..., in) float → (N, ..., out) float32."""
        flat = x.flatten(1)
        ranges = zip(flat.amin(1).tolist(), flat.amax(1).tolist(), strict=True)
        parts = [self._one(rows, *ends) for rows, ends in zip(x, ranges, strict=True)]
        return parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(parts)

    def _one(self, rows: Tensor, low: float, high: float) -> Tensor:
        if not math.isfinite(high - low):
            return rows.new_full((*rows.shape[:-1], len(self.kernel.scale)), math.nan)
        scale, zero_point = scalar_grid(self.spec, low, high)
        integers = integers_of(torch.quantize_per_tensor(rows, scale, zero_point, torch.quint8))
        if self.spec.qmax < LARGEST_BYTE:
            integers.clamp_max_(self.spec.qmax)
        return self.kernel.to_float(integers, scale, zero_point)


def scalar_grid(spec: QSpec, low: float, high: float) -> tuple[float, int]:
    """The scale and zero point of ``Grid.from_range``, for a fitted unsigned grid, without tensors."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / spec.qmax))
    if scale <= SMALLEST_SCALE:
        scale = 1.0
    return scale, min(max(round(-low / scale), 0), spec.qmax)


class OnGrid(FrameComponent):
    """Floats to the integers of a grid: PyTorch's ``QuantStub``, converted. Network inputs have a grid per column."""

    def __init__(self, component: Component, grid: Grid) -> None:
        super().__init__(component)
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        return self.grid.quantize(x).to(torch.uint8)


class FromGrid(FrameComponent):
    """What float components read of a node on a grid: its values; given floats, these rounded to the grid."""

    def __init__(self, component: Component, grid: Grid) -> None:
        super().__init__(component)
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        return self.grid.dequantize(x.int()) if x.dtype == torch.uint8 else self.grid.fake(x)


class Passed(FrameComponent):
    """A ReLU that the product before it has done already."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class QuantizedSum(FrameComponent):
    """Adds nodes on grids with PyTorch's quantized addition; their values are given side by side.

    Args:
        component: takes their columns side by side.
        terms: what is added.
        grids: of the terms.
        output: of the sum.
    """

    def __init__(self, component: Component, terms: list[Term], grids: list[Grid], output: Grid) -> None:
        super().__init__(component)
        self.coefficients = [term.coefficient for term in terms]
        self.grids, self.output = grids, output
        self.native = len(terms) == 2 and min(self.coefficients) > 0

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, T, terms * dim), uint8, or float on the grids → (N, T, dim) uint8."""
        parts = x.unflatten(-1, (len(self.grids), -1)).unbind(-2)
        if x.dtype != torch.uint8:
            parts = tuple(grid.quantize(part).to(torch.uint8) for grid, part in zip(self.grids, parts, strict=True))
        if not self.native:
            return integer_sum([part.int() for part in parts], self.grids, self.coefficients, self.output).to(
                torch.uint8
            )
        # A term's coefficient is a change of its scale.
        terms = [
            as_quantized(part.contiguous(), float(grid.scale) * coefficient, int(grid.zero_point))
            for part, grid, coefficient in zip(parts, self.grids, self.coefficients, strict=True)
        ]
        total = torch.ops.quantized.add(*terms, float(self.output.scale), int(self.output.zero_point))
        integers = integers_of(total)
        return integers.clamp_max_(self.output.spec.qmax) if self.output.spec.qmax < LARGEST_BYTE else integers
