"""What takes the place of float products on an engine, and what is done where its products are wrong on this machine.

Processors without products of 8-bit integers (VNNI) add two of them in saturating 16-bit registers. Extreme weights and
inputs show it, against the integer reference; activations with fewer bits, over the same ranges, help.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from kaldi_quant.backends.probe import extreme_features, random_grid, random_layer
from kaldi_quant.backends.torch_engines.kernels import Engine, engine_in_use, integers_of, kernel_for, without_notes
from kaldi_quant.errors import ModelError
from kaldi_quant.quant.grid import SMALLEST_SCALE, Grid
from kaldi_quant.quant.input_grids import input_grid
from kaldi_quant.quant.integer_linear import DynamicLinear, InputGrid, IntegerLinear
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.quantized_layer import QuantizedLayer
from kaldi_quant.quant.spec import LARGEST_BYTE, QSpec
from kaldi_quant.units import Bits

# (rows, columns) of weights: some that fill the kernels' registers, and some that do not.
_SHAPES = ((64, 128), (7, 39), (130, 65))
_FRAMES = 50
# Kernels add the bias in float, and may round a tie the other way: no more than one step.
_STEPS = 1
# A float result has float32's precision of the accumulator, which is far below a step of any product that overflows.
_RELATIVE = 1e-5
# Columns' scales grow by one factor, but for their rounding to float32.
_SAME = 1e-5


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


@cache
def is_exact(engine: Engine, act_bits: Bits) -> bool:
    """Whether an engine's products of activations of a width are those of the integer reference."""
    random = np.random.default_rng(0)
    with without_notes(), engine_in_use(engine), torch.inference_mode():
        return all(_agrees(random, engine, act_bits, *shape) for shape in _SHAPES)


def _agrees(random: np.random.Generator, engine: Engine, act_bits: Bits, rows: int, columns: int) -> bool:
    grid = random_grid(random, act_bits)
    layer = random_layer(random, rows, grid, columns)
    x = grid.fake(extreme_features(random, grid, (2, _FRAMES, columns)))
    expected = layer.forward(x)
    size = float(expected.abs().max())
    output = Grid.from_range(random_grid(random, act_bits).spec, expected.min(), expected.max())
    steps = output.round_steps(layer.steps(x, output))
    got = StaticProduct(layer, engine, output, relu=False)(x)
    return bool(
        ((_float(layer, engine, x) - expected).abs().max() <= _RELATIVE * size)
        and (got - output.quantize(steps)).abs().max() <= _STEPS
    )


def _float(layer: IntegerLinear, engine: Engine, x: torch.Tensor) -> torch.Tensor:
    return StaticProduct(layer, engine, None, relu=False)(x)


def narrowed(network: QuantizedNetwork, bits: Bits) -> QuantizedNetwork:
    """The network with activations of at most so many bits.

    Raises:
        ModelError: a layer's columns have several widths, and their scales are in its weights.
    """
    activations = {name: _narrower(grid, bits) for name, grid in network.activations.items()}
    layers: dict[str, QuantizedLayer] = {}
    for name, layer in network.layers.items():
        if isinstance(layer, DynamicLinear):
            layers[name] = replace(layer, spec=_spec(layer.spec, bits))
        elif isinstance(layer, IntegerLinear):
            layers[name] = _with_inputs(name, layer, input_grid(network.host, network.graph, name, activations))
    return replace(network, layers=layers, activations=activations)


def _spec(spec: QSpec, bits: Bits) -> QSpec:
    return replace(spec, bits=min(spec.bits, bits))


def _narrower(grid: Grid, bits: Bits) -> Grid:
    if grid.spec.bits <= bits:
        return grid
    low, high = ((end - grid.zero_point.double()) * grid.scale.double() for end in (grid.spec.qmin, grid.spec.qmax))
    return Grid.from_range(_spec(grid.spec, bits), low, high)


def _with_inputs(name: str, layer: IntegerLinear, inputs: InputGrid) -> IntegerLinear:
    weight = layer.weight
    if inputs.per_column:
        weight = replace(weight, scale=weight.scale * _growth(name, layer.inputs.scale, inputs.scale))
    return IntegerLinear.build(weight, layer.dequantized_bias(), inputs)


def _growth(name: str, before: Tensor, after: Tensor) -> Tensor:
    ratio = after / before
    if float(ratio.max()) > float(ratio.min()) * (1 + _SAME):
        raise ModelError(
            f"the input of the layer {name} has columns of several widths, which cannot all be made narrower: "
            "choose another engine with --engine"
        )
    return ratio.median()
