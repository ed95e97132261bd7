"""A network whose layers run in integers, and whose activations lie on integer grids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from kaldi_quant.quant.graph import QuantGraph, Read
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.host import Addition, Executable, Host
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.integer_sum import integer_sum
from kaldi_quant.quant.slots import Product, set_product

_Described = TypeVar("_Described")


@dataclass
class QuantizedNetwork:
    """The result of quantization.

    Args:
        host: the prepared network in float; of quantized layers only the kinds and sizes matter. Right after
            quantization it has the float weights, read from a file the dequantized ones.
        layers: the integer form of each quantized layer.
        activations: the grid of each node that lies on one; scale () or, for inputs of the network, (channels,).
        float_layers: the layers that stay in float, with the reason.
    """

    host: Host
    layers: dict[str, IntegerLinear | DynamicLinear]
    activations: dict[str, Grid]
    float_layers: dict[str, str]

    @cached_property
    def graph(self) -> QuantGraph:
        """Which nodes are on grids, and what is fused."""
        static = [name for name, layer in self.layers.items() if isinstance(layer, IntegerLinear)]
        return QuantGraph(self.host.nodes, static)

    def act_bits(self, layer: str) -> int:
        """The width of a layer's input: that of its widest node."""
        found = self.layers[layer]
        if isinstance(found, DynamicLinear):
            return found.spec.bits
        return max(self.activations[name].spec.bits for name in self.graph.inputs_of(layer))

    def dequantized(self) -> Host:
        """The network with the quantized weights in float."""
        return self.host.with_parameters(
            {name: (layer.dequantized_weight(), layer.dequantized_bias()) for name, layer in self.layers.items()}
        )

    def model(self, device: torch.device | None = None) -> Executable:
        """The network in torch: activations on their grids, products in exact integers. It defines the result.

        Args:
            device: where it computes; by default the CPU.
        """
        graph, layers, activations = self.graph, self.layers, self.activations
        if device is not None:
            layers = {name: moved(layer, device) for name, layer in layers.items()}
            # Nodes that share a grid go on sharing it.
            grids = {id(grid): moved(grid, device) for grid in activations.values()}
            activations = {name: grids[id(grid)] for name, grid in activations.items()}
        sums = {name: terms for name, terms in graph.sums.items() if name in activations}
        additions = {name: _addition(terms, activations, activations[name]) for name, terms in sums.items()}
        model = self.dequantized().executable(additions)
        if device is not None:
            model.to(device)
        for name, grid in activations.items():
            model.taps[name] = grid.fake
        for name, layer in layers.items():
            destination = graph.destination(name) if isinstance(layer, IntegerLinear) else None
            compute: Callable[[Tensor], Tensor] = layer.forward
            if isinstance(layer, IntegerLinear) and destination and destination.node in activations:
                output = activations[destination.node]
                compute = _requantizing(layer, output)
                model.taps[destination.node] = output.round_steps
            set_product(model, name, Product(compute))
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


def _addition(terms: Sequence[Read], grids: dict[str, Grid], output: Grid) -> Addition:
    """Adds values on grids; the result is a value on the sum's own grid."""
    of_terms = [grids[term.node] for term in terms]
    coefficients = [term.coefficient for term in terms]

    def add(values: Sequence[Tensor]) -> Tensor:
        integers = [grid.quantize(value) for grid, value in zip(of_terms, values, strict=True)]
        return output.dequantize(integer_sum(integers, of_terms, coefficients, output))

    return add
