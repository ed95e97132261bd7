"""A quantized network that can be trained: float weights behind fake quantization, and the way back to integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from kaldi_quant.quant.graph import products
from kaldi_quant.quant.host import Executable
from kaldi_quant.quant.input_grids import input_grid
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear, least_scale
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.quantized_layer import QuantizedLayer, build_layer, factor_of
from kaldi_quant.quant.slots import bias_of, set_product, trained_in_float
from kaldi_quant.quant.weight_only import WeightOnlyLinear
from kaldi_quant.train.parameters import TrainedComponent
from kaldi_quant.train.qat.fake_grid import FakeGrid
from kaldi_quant.train.qat.fake_product import DynamicProduct, FakeProduct, FloatBiasProduct, on_cpu
from kaldi_quant.train.qat.float_offsets import FloatOffsetGrid
from kaldi_quant.train.qat.options import QatOptions
from kaldi_quant.train.qat.recomputed import FollowedGrid, FollowedRanges
from kaldi_quant.train.qat.trained_grids import GRIDS, TrainedGrids
from kaldi_quant.train.qat.trained_weight import WEIGHTS

# A weight begins at most so many steps away from its integer. At half a step, those that post-training quantization
# rounded the other way would be a hair from flipping back, and one step of training would lose what it gained.
_LARGEST_DISTANCE = 0.4


@dataclass
class TrainableNetwork:
    """A quantized network in training.

    Args:
        start: what training begins with.
        model: computes with fake quantization.
        products: of the quantized layers.
        activations: for each node on a grid its fake grid; nodes that share a grid share this.
    """

    start: QuantizedNetwork
    model: Executable
    products: dict[str, FakeProduct]
    activations: dict[str, FakeGrid]

    @classmethod
    def of(cls, start: QuantizedNetwork, options: QatOptions | None = None) -> TrainableNetwork:
        """Begins at the integers of a quantized network; its float weights are kept as far as these allow.

        Where scales are recomputed, those of weights are min-max from the first step on, whatever they were before.

        Args:
            start: after post-training quantization.
            options: what becomes of scales, offsets and weights.

        Raises:
            UsageError: only PyTorch trains so.
        """
        options = options or QatOptions()
        graph = start.graph
        model = start.dequantized().executable()
        # Grids that are multiplied into weights stay: these weights' own grids are for them.
        mixed = [name for name in graph.layers if any(graph.is_per_column(node) for node in graph.inputs_of(name))]
        fixed = {node for name in mixed for node in graph.inputs_of(name)}
        # So do those that the network itself declares.
        fixed |= {node for group in graph.groups() if graph.declared(group) is not None for node in group}
        grids, staying = (GRIDS[name](start.host.nodes, options) for name in (options.method, "fixed"))
        activations: dict[str, FakeGrid] = {}
        for group in graph.groups():
            of_group = grids if fixed.isdisjoint(group) else staying
            activations |= of_group.of_nodes(start.activations[group[0]], group)
        fakes = {}
        for name, layer in start.layers.items():
            inputs = None if name in mixed or name not in graph.layers else activations[graph.inputs_of(name)[0]]
            fakes[name] = _product(start.host.weight(name), layer, inputs, grids, options.weights)
            set_product(model, name, fakes[name])
        model.taps.update(activations)
        model.batches_of_one_length = any(isinstance(fake, DynamicProduct) for fake in fakes.values())
        return cls(start, model, fakes, activations)

    @cached_property
    def observers(self) -> FollowedRanges | None:
        """The ranges that follow minibatches, if any do; else scales are parameters, or stay."""
        found = {name: grid for name, grid in self.activations.items() if isinstance(grid, FollowedGrid)}
        return FollowedRanges(found) if found else None

    @property
    def float_offsets(self) -> int:
        """How many grids have offsets that are no integer zero points yet."""
        return len({id(grid) for grid in self.activations.values() if isinstance(grid, FloatOffsetGrid)})

    def to(self, device: torch.device) -> None:
        """Moves what is computed with to a device."""
        self.model.to(device)

    def components(self) -> list[TrainedComponent]:
        """The linear layers, also those that stay in float: weights, or their places on grids, and biases."""
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        found = []
        wanted = {*self.products, *self.start.float_layers}
        for name in (name for name in products(self.start.host.nodes) if name in wanted):
            parameters = dict(self.model.slot(name).named_parameters(recurse=False))
            if name in self.products:
                del parameters["weight"]
                found.append(self.products[name].component(name))
            if parameters:
                found.append(TrainedComponent(name, parameters))
        for part in [*found, *self.scales()]:
            for parameter in part.parameters.values():
                parameter.requires_grad_(True)
        return found

    def scales(self) -> list[TrainedComponent]:
        """The scales and zero points that are learned."""
        grids = {f"{name} scales": product.grid for name, product in self.products.items()}
        seen: dict[int, str] = {}
        for name, grid in self.activations.items():
            if seen.setdefault(id(grid), name) == name:
                grids[f"{name} values"] = grid
        learned = {name: grid.learned() for name, grid in grids.items()}
        return [TrainedComponent(name, parameters, decays=False) for name, parameters in learned.items() if parameters]

    @torch.no_grad()
    def converted(self) -> QuantizedNetwork:
        """The network in integers: the very weights that fake quantization has.

        Raises:
            UsageError: the widths would overflow 32-bit accumulators.
        """
        host = self.start.host.with_parameters(trained_in_float(self.model, self.start.float_layers))
        activations = {name: on_cpu(fake.grid()) for name, fake in self.activations.items()}
        result = replace(self.start, host=host, layers={}, activations=activations)
        for name, product in self.products.items():
            bias = bias_of(self.model.slot(name)).double().cpu()
            is_static = name in self.start.graph.layers
            inputs = input_grid(host, self.start.graph, name, activations) if is_static else None
            in_steps = inputs is not None and not product.grid.columns
            least = least_scale(bias, inputs) if inputs is not None and in_steps else torch.zeros(len(bias), 1)
            dynamic = product.spec if isinstance(product, DynamicProduct) else None
            factor = factor_of(self.start.layers[name])
            result.layers[name] = build_layer(product.quantized(least), bias, inputs, dynamic, factor)
        return result


def _product(
    weight: Tensor, layer: QuantizedLayer, inputs: FakeGrid | None, grids: TrainedGrids, weights: str
) -> FakeProduct:
    """A layer's fake-quantized product.

    Args:
        weight: (out, in), in float.
        layer: quantized.
        inputs: as of ``FakeProduct``.
        grids: makes the weight's grid.
        weights: what is learned of the weight.
    """
    folded = _folded(layer).float()
    trained = WEIGHTS[weights].of(_steps(weight, layer), layer.weight.grid.scale, folded)
    fake = grids.of_weight(layer.weight, trained, folded)
    if isinstance(layer, DynamicLinear):
        return DynamicProduct(trained, fake, weight.shape[1], layer.spec, layer.weight.groups)
    kind = FakeProduct if isinstance(layer, IntegerLinear) else FloatBiasProduct
    return kind(trained, fake, folded, inputs, layer.weight.groups)


def _folded(layer: QuantizedLayer) -> Tensor:
    """(in,): what the columns of a layer's float weight are multiplied by for its integers."""
    if isinstance(layer, DynamicLinear):
        return torch.ones(layer.weight.integers.shape[1], dtype=torch.float64)
    return layer.folded if isinstance(layer, WeightOnlyLinear) else layer.inputs.folded


def _steps(weight: Tensor, layer: QuantizedLayer) -> Tensor:
    """The float weights, (out, in), in steps of a layer's grid, moved as far as needed to be near its integers."""
    steps = weight.double() * _folded(layer) / layer.weight.grid.scale.double()
    centred = layer.weight.centred.double()
    return torch.minimum(torch.maximum(steps, centred - _LARGEST_DISTANCE), centred + _LARGEST_DISTANCE).float()
