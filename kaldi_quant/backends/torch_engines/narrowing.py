"""A quantized network with narrower activations over the same ranges; its integer weights stay as they are."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from kaldi_quant.errors import ModelError
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.input_grids import input_grid
from kaldi_quant.quant.integer_linear import DynamicLinear, InputGrid, IntegerLinear
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.units import Bits

# Columns' scales grow by one factor, but for their rounding to float32.
_SAME = 1e-5


def narrowed(network: QuantizedNetwork, bits: Bits) -> QuantizedNetwork:
    """The network with activations of at most so many bits.

    Raises:
        ModelError: a layer's columns have several widths, and their scales are in its weights.
    """
    activations = {name: _narrower(grid, bits) for name, grid in network.activations.items()}
    layers: dict[str, IntegerLinear | DynamicLinear] = {}
    for name, layer in network.layers.items():
        if isinstance(layer, DynamicLinear):
            layers[name] = replace(layer, spec=_spec(layer.spec, bits))
        else:
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
