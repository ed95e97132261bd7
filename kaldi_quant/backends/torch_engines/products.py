"""What takes the place of a network's float products that PyTorch's integer kernels compute."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from kaldi_quant.backends.torch_engines.engines import Engine
from kaldi_quant.backends.torch_engines.kernels import integers_of, kernel_for
from kaldi_quant.quant.grid import SMALLEST_SCALE, Grid
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.spec import LARGEST_BYTE, QSpec


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
