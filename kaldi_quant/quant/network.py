"""A network whose layers run in integers, and whose activations lie on integer grids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from kaldi_quant.quant.graph import Node, QuantGraph, Read, matmuls
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.groupwise_linear import GroupwiseLinear
from kaldi_quant.quant.host import Arithmetic, Executable, Host, StepwiseExecutable
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.integer_matmul import IntegerMatmul
from kaldi_quant.quant.integer_product import integer_product
from kaldi_quant.quant.integer_sum import IntegerSum
from kaldi_quant.quant.quantized_layer import QuantizedLayer, static_layers, weights_only
from kaldi_quant.quant.slots import Product, set_product
from kaldi_quant.quant.weight_only import WeightOnlyLinear

_Described = TypeVar("_Described")


@dataclass
class QuantizedNetwork:
    """The result of quantization.

    Args:
        host: the prepared network in float; of quantized layers only the kinds and sizes matter. Right after
            quantization it has the float weights, read from a file the dequantized ones.
        layers: the integer form of each quantized layer, of those in ``weights_only`` that of its weights.
        activations: the grid of each node that lies on one; scale () or, for inputs of the network, (channels,).
        float_layers: the layers that stay in float, with the reason.
        float_matmuls: the products of two values that stay in float, with the reason; all others are in integers.
    """

    host: Host
    layers: dict[str, QuantizedLayer]
    activations: dict[str, Grid]
    float_layers: dict[str, str]
    float_matmuls: dict[str, str] = field(default_factory=dict)

    @property
    def matmuls(self) -> list[str]:
        """The products of two values that are in integers."""
        return [name for name in matmuls(self.host.nodes) if name not in self.float_matmuls]

    @cached_property
    def graph(self) -> QuantGraph:
        """Which nodes are on grids, and what is fused."""
        return QuantGraph(self.host.nodes, static_layers(self.layers), self.matmuls)

    @property
    def weights_only(self) -> list[str]:
        """The layers whose weights alone are quantized: they compute in float."""
        return weights_only(self.layers)

    @property
    def multiplying_floats(self) -> list[str]:
        """The layers for which integers have no operator elsewhere: weights alone, or groups of columns with scales."""
        return [name for name, layer in self.layers.items() if isinstance(layer, WeightOnlyLinear | GroupwiseLinear)]

    def act_bits(self, layer: str) -> int:
        """The width of a layer's input: that of its widest node; 0 where it stays in float."""
        found = self.layers[layer]
        if isinstance(found, DynamicLinear):
            return found.spec.bits
        if layer not in self.graph.layers:
            return 0
        return max(self.activations[name].spec.bits for name in self.graph.inputs_of(layer))

    def dequantized(self) -> Host:
        """The network with the quantized weights in float."""
        return self.host.with_parameters(
            {name: (layer.dequantized_weight(), layer.dequantized_bias()) for name, layer in self.layers.items()}
        )

    def model(self, device: torch.device | None = None) -> StepwiseExecutable:
        """The network in torch: activations on their grids, products in exact integers. It defines the result.

        Args:
            device: where it computes; by default the CPU.
        """
        placed = self if device is None else self.on(device)
        model = self.dequantized().executable(placed.arithmetic())
        if device is not None:
            model.to(device)
        placed.install(model)
        return model

    def on(self, device: torch.device) -> QuantizedNetwork:
        """The network with its integers and grids on a device."""
        layers = {name: moved(layer, device) for name, layer in self.layers.items()}
        return replace(self, layers=layers, activations=moved_grids(self.activations, device))

    def arithmetic(self) -> dict[str, Arithmetic]:
        """Additions and products of two values as they are computed with integers."""
        graph, grids = self.graph, self.activations
        found = {name: _addition(terms, grids, grids[name]) for name, terms in graph.sums.items() if name in grids}
        found |= {
            name: _multiplication(factors, grids, grids[name])
            for name, factors in graph.elementwise.items()
            if name in grids
        }
        return found | {name: _matmul(graph.all_nodes[name], grids, self._output_of(name)) for name in graph.matmuls}

    def install(self, model: Executable) -> None:
        """Makes a model of the float network, with this one's ``arithmetic``, compute with integers."""
        for name, layer in self.layers.items():
            compute: Callable[[Tensor], Tensor] = layer.forward
            if isinstance(layer, IntegerLinear) and (output := self._output_of(name)) is not None:
                compute = _requantizing(layer, output)
            set_product(model, name, Product(compute))
        rounded = set(self._destinations.values())
        model.taps.update(
            {name: grid.round_steps if name in rounded else grid.fake for name, grid in self.activations.items()}
        )
        model.batches_of_one_length = self.needs_one_length

    @property
    def needs_one_length(self) -> bool:
        """Whether a batch must hold sequences of one length."""
        return any(isinstance(layer, DynamicLinear) for layer in self.layers.values())

    def ways(self) -> dict[Way, tuple[object, ...]]:
        """What is not computed as in float, with the integers and grids that say how.

        What has the very same objects in another network of this host is computed alike there.
        """
        graph, grids, rounded = self.graph, self.activations, set(self._destinations.values())
        found: dict[Way, tuple[object, ...]] = {}
        for name, layer in self.layers.items():
            found[Way("product", name)] = (layer, self._output_of(name))
        for name, grid in grids.items():
            found[Way("value", name)] = (grid, name in rounded)
        for name, reads in {**graph.sums, **graph.elementwise}.items():
            if name in grids:
                found[Way("arithmetic", name)] = (*(grids[read.node] for read in reads), grids[name])
        for name in graph.matmuls:
            factors = [grids[names[0]] for names in graph.all_nodes[name].factors]
            found[Way("arithmetic", name)] = (*factors, self._output_of(name))
        return found

    @cached_property
    def _destinations(self) -> dict[str, str]:
        """For layers and products of two values the nodes that their accumulators go to, in steps."""
        exact = [name for name, layer in self.layers.items() if isinstance(layer, IntegerLinear)]
        found = {name: self.graph.destination(name) for name in [*self.graph.matmuls, *exact]}
        return {name: where.node for name, where in found.items() if where and where.node in self.activations}

    def _output_of(self, name: str) -> Grid | None:
        """The grid that a layer's or product's accumulators go to, in steps, which are rounded there."""
        return self.activations[self._destinations[name]] if name in self._destinations else None


class Way(NamedTuple):
    """Something that a network in integers computes in another way than in float.

    Args:
        what: the product of a layer, what a node's value becomes, or an addition or product of two values.
        name: of the layer or node.
    """

    what: Literal["product", "value", "arithmetic"]
    name: str


def moved(value: _Described, device: torch.device) -> _Described:
    """A dataclass of tensors with all of them on a device, also those within dataclasses that it holds."""
    changes: dict[str, Any] = {}
    for each in fields(value):  # type: ignore[arg-type]
        found = getattr(value, each.name)
        if isinstance(found, Tensor):
            changes[each.name] = found.to(device)
        elif is_dataclass(found):
            changes[each.name] = moved(found, device)
    return replace(value, **changes)  # type: ignore[type-var]


def moved_grids(activations: Mapping[str, Grid], device: torch.device) -> dict[str, Grid]:
    """Grids on a device; nodes that share one go on sharing it."""
    grids = {id(grid): moved(grid, device) for grid in activations.values()}
    return {name: grids[id(grid)] for name, grid in activations.items()}


def _requantizing(layer: IntegerLinear, output: Grid) -> Callable[[Tensor], Tensor]:
    return lambda x: layer.steps(x, output)


def _matmul(node: Node, grids: dict[str, Grid], output: Grid | None) -> Arithmetic:
    """Multiplies values on grids; the result is a float, or in steps of the grid that it goes to."""
    one, other = (grids[names[0]] for names in node.factors)
    product = IntegerMatmul(node.name, one, other)
    return product.forward if output is None else lambda factors: product.steps(factors, output)


def _addition(terms: Sequence[Read], grids: dict[str, Grid], output: Grid) -> Arithmetic:
    """Adds values on grids; the result is a value on the sum's own grid."""
    of_terms = [grids[term.node] for term in terms]
    total = IntegerSum(of_terms, [term.coefficient for term in terms], output)

    def add(values: Sequence[Tensor]) -> Tensor:
        integers = [grid.quantize(value) for grid, value in zip(of_terms, values, strict=True)]
        return output.dequantize(total(integers))

    return add


def _multiplication(factors: Sequence[Read], grids: dict[str, Grid], output: Grid) -> Arithmetic:
    """Multiplies values on grids element by element; the result is a value on the product's own grid."""
    of_factors = [grids[factor.node] for factor in factors]

    def multiply(values: Sequence[Tensor]) -> Tensor:
        integers = [grid.quantize(value) for grid, value in zip(of_factors, values, strict=True)]
        return output.dequantize(integer_product(integers, of_factors, output))

    return multiply
