"""What PyTorch is to quantize in a network, before any data is seen; and how its answers become integer layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.graph import QuantGraph, products
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.host import Data, Host, Source
from kaldi_quant.quant.input_grids import input_grid
from kaldi_quant.quant.integer_linear import DynamicLinear, InputGrid, IntegerLinear, least_scale
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.layer_kinds import layer_kinds
from kaldi_quant.quant.left_in_float import float_reasons
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.ptq import prepare
from kaldi_quant.quant.quantized_layer import QuantizedLayer
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.ranges import Ranges, grid_over
from kaldi_quant.quant.spec import QSpec

_WIDEST = 8


@dataclass(frozen=True)
class Plan:
    """A prepared network with what happens to its layers.

    Args:
        config: what was asked for.
        prepared: the network.
        layers: the configuration of each layer that is quantized.
        float_layers: the others, with the reason.
    """

    config: PtqConfig
    prepared: Host
    layers: dict[str, LayerConfig]
    float_layers: dict[str, str]

    @property
    def static(self) -> list[str]:
        """The layers whose ranges are known beforehand."""
        return [name for name, layer in self.layers.items() if layer.ranges == "static"]

    @property
    def dynamic(self) -> list[str]:
        """The layers whose ranges are found anew at every call."""
        return [name for name, layer in self.layers.items() if layer.ranges == "dynamic"]

    def graph(self) -> QuantGraph:
        """Which nodes are on grids."""
        return QuantGraph(self.prepared.nodes, self.static)

    def without(self, reasons: dict[str, str]) -> Plan:
        """The plan with some layers left in float, each with its reason."""
        kept = {name: layer for name, layer in self.layers.items() if name not in reasons}
        return replace(self, layers=kept, float_layers={**self.float_layers, **reasons})

    def weight(self, name: str, inputs: InputGrid | None) -> Tensor:
        """(out, in) float32: what PyTorch quantizes; the scales of an input's columns are multiplied in."""
        weight = self.prepared.weight(name).double()
        return (weight if inputs is None else weight * inputs.folded).float()

    def bias(self, name: str) -> Tensor:
        """(out,) float32: of the float layer."""
        return self.prepared.bias(name, self.prepared.weight(name)).float()

    def activation_spec(self, graph: QuantGraph, group: list[str], signed: bool = True) -> QSpec:
        """The grid of nodes that share one: as wide as the widest layer asks that reads them."""
        widths = [self.layers[reader].act_bits for name in group for reader in graph.readers.get(name, [])]
        if any(name not in graph.readers for name in group):
            widths.append(_WIDEST)
        return QSpec(max(widths), signed=False, symmetric=not signed, per_channel=graph.is_per_column(group[0]))

    def grids_over(self, graph: QuantGraph, ranges: Ranges) -> dict[str, Grid]:
        """The grids of nodes over given ranges.

        Raises:
            DataError: a node has none, or one that does not fit.
        """
        grids: dict[str, Grid] = {}
        for group in graph.groups():
            low = ranges[group[0]][0] if group[0] in ranges else torch.zeros(1)
            spec = self.activation_spec(graph, group, signed=bool((low < 0).any()))
            grids.update(
                dict.fromkeys(group, grid_over(group[0], ranges, spec, self.prepared.nodes[group[0]].channels))
            )
        return grids

    def inputs_of(self, graph: QuantGraph, grids: dict[str, Grid]) -> dict[str, InputGrid]:
        """The grids of each layer's columns."""
        return {name: input_grid(self.prepared, graph, name, grids) for name in self.static}

    def network(
        self,
        weights: dict[str, QuantizedWeight],
        grids: dict[str, Grid],
        inputs: dict[str, InputGrid],
        biases: Mapping[str, Tensor] | None = None,
    ) -> QuantizedNetwork:
        """The result, from the integers and grids that PyTorch found.

        Args:
            weights: of the layers.
            grids: of the nodes that lie on one.
            inputs: the grids of the columns of layers whose ranges are known.
            biases: of layers that were trained, (out,); by default those that belong to the integer weights.

        Raises:
            UsageError: the widths would overflow 32-bit accumulators.
        """
        found = biases or {}
        layers: dict[str, QuantizedLayer] = {
            name: self._layer(name, weights[name], inputs.get(name), found.get(name)) for name in self.layers
        }
        return QuantizedNetwork(self.prepared.complete(), layers, grids, self.float_layers)

    def _layer(
        self, name: str, weight: QuantizedWeight, inputs: InputGrid | None, trained: Tensor | None
    ) -> QuantizedLayer:
        if inputs is not None:
            weight = _with_room_for(weight, (self.bias(name) if trained is None else trained).double(), inputs)
        dequantized = weight.dequantized() if inputs is None else weight.dequantized() / inputs.folded
        bias = self.prepared.bias(name, dequantized) if trained is None else trained
        if inputs is None:
            return DynamicLinear.build(weight, bias, self.layers[name].activation_spec(signed=True))
        return IntegerLinear.build(weight, bias, inputs)


def _with_room_for(weight: QuantizedWeight, bias: Tensor, inputs: InputGrid) -> QuantizedWeight:
    """The weight, on a coarser grid where its bias would not fit the accumulator otherwise."""
    least = least_scale(bias, inputs)
    if not bool((least > weight.scale).any()):
        return weight
    scale = torch.maximum(weight.scale, least if weight.spec.per_channel else least.max())
    grid = Grid(weight.spec, scale, weight.zero_point)
    return QuantizedWeight.on_grid(grid, grid.quantize(weight.dequantized().float()))


def make_plan(source: Source, config: PtqConfig, data: Data) -> Plan:
    """What is to be done with a network.

    Raises:
        UsageError: the configuration asks for what PyTorch does not do, or names layers that do not exist.
    """
    check_methods(config)
    prepared = prepare(source, config, data)
    configs = config.for_layers(layer_kinds(prepared.nodes))
    float_layers = float_reasons(prepared, configs)
    layers = {name: configs[name] for name in products(prepared.nodes) if name not in float_layers}
    for name, layer in layers.items():
        _check_layer(f"the layer {name}", layer)
    return Plan(config, prepared, layers, float_layers)


def check_methods(config: PtqConfig) -> None:
    """Refuses what PyTorch does not do, as far as a configuration tells without a network.

    Raises:
        UsageError: it asks for that.
    """
    asked = {
        "bias_correction": (config.bias_correction, False),
        "sequential": (config.sequential, False),
        "feature_headroom": (config.feature_headroom, 1.0),
    }
    for name, (value, only) in asked.items():
        if value != only:
            raise UsageError(
                f"with backend torch, {name} must be {only!r}, found {value!r}: PyTorch has no such method"
            )


def check_default(config: PtqConfig) -> None:
    """Refuses what PyTorch does not do with layers that no rule names.

    Raises:
        UsageError: the configuration asks for that.
    """
    if not config.default.float_reason:
        _check_layer("layers", config.default)


def _check_layer(what: str, layer: LayerConfig) -> None:
    asked = {
        "method": (layer.method, "minmax"),
        "symmetric": (layer.symmetric, True),
        "act_symmetric": (layer.act_symmetric, False),
    }
    for key, (value, only) in asked.items():
        if value != only:
            raise UsageError(f"with backend torch, {key} must be {only!r}, found {value!r} for {what}")
    if layer.weights_only or layer.group_size:
        asked_for = "weights alone" if layer.weights_only else f"weights in groups of {layer.group_size} columns"
        raise UsageError(f"with backend torch, {asked_for} cannot be quantized: PyTorch has no such method for {what}")
    for key in ("bits", "act_bits"):
        width = getattr(layer, key)
        if width > _WIDEST:
            raise UsageError(f"with backend torch, {key} must be at most {_WIDEST}, found {width} for {what}")
