"""A network whose linear components run in integers, and whose activations lie on integer grids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.descriptor import Append
from kaldi_quant.kaldi.nnet import ComponentNode, Nnet
from kaldi_quant.nnet3.components.base import FrameComponent
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_graph import IntegerGraph, Term
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.integer_sum import integer_sum
from kaldi_quant.quant.linear_components import set_parameters
from kaldi_quant.quant.linear_modules import linear_module

_Described = TypeVar("_Described")


class _Product(nn.Module):
    """Takes the place of a module's float product."""

    def __init__(self, compute: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.compute = compute

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: (..., in) → (..., out); the bias is the layer's own."""
        return self.compute(x)


class _IntegerSum(FrameComponent):
    """Adds nodes on grids: x holds their values side by side; the result is in steps of the sum's own grid."""

    def __init__(self, component: Component, terms: list[Term], grids: dict[str, Grid], output: Grid) -> None:
        super().__init__(component)
        self.grids = [grids[term.node] for term in terms]
        self.coefficients = [term.coefficient for term in terms]
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        parts = x.unflatten(-1, (len(self.grids), -1)).unbind(-2)
        integers = [grid.quantize(part) for grid, part in zip(self.grids, parts, strict=True)]
        return self.output.dequantize(integer_sum(integers, self.grids, self.coefficients, self.output))


@dataclass
class QuantizedNetwork:
    """The result of quantization.

    Args:
        nnet: the prepared network in float; of quantized layers only the kinds and sizes matter. Right after
            quantization it has the float weights, read from a file the dequantized ones.
        layers: the integer form of each quantized layer.
        activations: the grid of each node that lies on one; scale () or, for network inputs, (dim,).
        float_layers: the layers that stay in float, with the reason.
    """

    nnet: Nnet
    layers: dict[str, IntegerLinear | DynamicLinear]
    activations: dict[str, Grid]
    float_layers: dict[str, str]

    @cached_property
    def graph(self) -> IntegerGraph:
        """Which nodes are on grids, and what is fused."""
        static = [name for name, layer in self.layers.items() if isinstance(layer, IntegerLinear)]
        return IntegerGraph(self.nnet, static)

    def act_bits(self, layer: str) -> int:
        """The width of a layer's input: that of its widest node."""
        found = self.layers[layer]
        if isinstance(found, DynamicLinear):
            return found.spec.bits
        return max(self.activations[name].spec.bits for name in self.graph.inputs_of(layer))

    def dequantized(self) -> Nnet:
        """The network with the quantized weights in float: what Kaldi and Vosk can run."""
        nnet = replace(self.nnet, components=dict(self.nnet.components))
        for name, layer in self.layers.items():
            weight, bias = layer.dequantized_weight().numpy(), layer.dequantized_bias().numpy()
            nnet.components[name] = set_parameters(nnet.components[name], weight, bias)
        return nnet

    def model(self, device: torch.device | None = None) -> AcousticModel:
        """The network in torch: activations on their grids, products in exact integers. It defines the result.

        Args:
            device: where it computes; by default the CPU.
        """
        graph = self.graph
        sums = {name: terms for name, terms in graph.sums.items() if name in self.activations}
        model = AcousticModel(_with_sums_side_by_side(self.dequantized(), sums))
        layers, activations = self.layers, self.activations
        if device is not None:
            model.to(device)
            layers = {name: moved(layer, device) for name, layer in layers.items()}
            # Nodes that share a grid go on sharing it.
            grids = {id(grid): moved(grid, device) for grid in activations.values()}
            activations = {name: grids[id(grid)] for name, grid in activations.items()}
        for name, grid in activations.items():
            model.taps[name] = grid.fake
        for name, terms in sums.items():
            component = model.nnet.components[name]
            model.replace_component(name, _IntegerSum(component, terms, activations, activations[name]))
        for name, layer in layers.items():
            module = linear_module(model, name)
            destination = graph.destination(name) if isinstance(layer, IntegerLinear) else None
            module.product = _Product(layer.forward)
            if isinstance(layer, IntegerLinear) and destination and destination.node in activations:
                output = activations[destination.node]
                module.product = _Product(_requantizing(layer, output))
                model.taps[destination.node] = output.round_steps
        model.batches_of_one_length = any(isinstance(layer, DynamicLinear) for layer in layers.values())
        return model


def moved(value: _Described, device: torch.device) -> _Described:
    """A dataclass of tensors with all of them on a device, also those within dataclasses that it holds."""
    changes: dict[str, Any] = {}
    for field in fields(value):  # type: ignore[arg-type]
        found = getattr(value, field.name)
        if isinstance(found, Tensor):
            changes[field.name] = found.to(device)
        elif is_dataclass(found):
            changes[field.name] = moved(found, device)
    return replace(value, **changes)  # type: ignore[type-var]


def _requantizing(layer: IntegerLinear, output: Grid) -> Callable[[Tensor], Tensor]:
    return lambda x: layer.steps(x, output)


def _with_sums_side_by_side(nnet: Nnet, sums: dict[str, list[Term]]) -> Nnet:
    """The network with the terms of some sums appended, for a component that adds them in its own way."""
    components, nodes = dict(nnet.components), dict(nnet.nodes)
    for name, terms in sums.items():
        node, dim = nodes[name], nnet.node_dim(name)
        assert isinstance(node, ComponentNode)
        nodes[name] = replace(node, input=Append(tuple(term.descriptor for term in terms)))
        fields = [("InputDim", dim * len(terms)), ("OutputDim", dim), ("Scale", 1.0)]
        components[name] = Component("SumBlockComponent", fields)
    return Nnet.of_nodes(nodes.values(), components, nnet.path)
