"""A quantized network that can be trained: float weights behind fake quantization, and the way back to integers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.graph import products
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.grouped import grouped_linear
from kaldi_quant.quant.host import Executable
from kaldi_quant.quant.input_grids import input_grid
from kaldi_quant.quant.integer_linear import IntegerLinear, least_scale
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.slots import bias_of, set_product, trained_in_float
from kaldi_quant.train.parameters import TrainedComponent
from kaldi_quant.train.qat.fake_grid import FakeGrid

# A weight begins at most so many steps away from its integer. At half a step, those that post-training quantization
# rounded the other way would be a hair from flipping back, and one step of training would lose what it gained.
_LARGEST_DISTANCE = 0.4

#: Places on grids, in steps, learn so many times faster than biases and the logarithms of scales.
STEPS_LEARNING_RATE = 20.0


class FakeProduct(nn.Module):
    """A product with fake-quantized weights; stands in for a module's float product.

    What is learned of a weight is its place between the grid's integers, so that a step of training means the same to
    rows of small and of large scale, and learned scales do not move weights across their grid.

    Args:
        steps: (out, in) float32, the weights multiplied by ``folded``, in steps of the grid from its zero point.
        grid: of the weights multiplied by ``folded``.
        folded: (in,) float32, the scales of the input's columns where these differ, else 1.
        inputs: the fake grid that all columns share; None where they differ in scale.
        groups: of the input's columns (``grouped``).
    """

    folded: Tensor

    def __init__(self, steps: Tensor, grid: FakeGrid, folded: Tensor, inputs: FakeGrid | None, groups: int = 1) -> None:
        super().__init__()
        self.steps = nn.Parameter(steps)
        self.grid, self.groups = grid, groups
        # In a list, which hides it: it is the node's, not this product's.
        self._inputs = [inputs] if inputs is not None else []
        self.register_buffer("folded", folded)
        self.is_folded = bool((folded != 1).any())

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: (..., groups * in) → (..., out)."""
        weight = self.grid.rounded(self.steps) * self.grid.scale
        if self.is_folded:
            weight = weight / self.folded
        return grouped_linear(x, weight, None if bias is None else self._on_steps(bias), self.groups)

    def _on_steps(self, bias: Tensor) -> Tensor:
        """The bias, (out,), rounded to steps of the accumulator, which are coarse at low widths."""
        with torch.no_grad():
            step = self.grid.scale[:, 0]
            for inputs in self._inputs:
                step = step * inputs.scale
            error = (bias / step).round() * step - bias
        return bias + error

    @torch.no_grad()
    def quantized(self, least: Tensor) -> QuantizedWeight:
        """The integers; scales stay above ``least``, (out, 1)."""
        grid = _on_cpu(self.grid.grid())
        wider = replace(grid, scale=torch.maximum(grid.scale, least))
        steps = self.steps.cpu() * (grid.scale / wider.scale)
        integers = (steps.round() + grid.zero_point).clamp(grid.spec.qmin, grid.spec.qmax)
        return QuantizedWeight.on_grid(wider, integers.to(torch.int32), self.groups)


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
    def of(cls, start: QuantizedNetwork, learned: bool = True) -> TrainableNetwork:
        """Begins at the integers of a quantized network; its float weights are kept as far as these allow.

        Args:
            start: after post-training quantization, all ranges known beforehand.
            learned: whether scales and zero points are learned; else they stay.

        Raises:
            UsageError: layers have dynamic ranges.
        """
        graph = start.graph
        model = start.dequantized().executable()
        # Grids that are multiplied into weights stay: these weights' own grids are for them.
        mixed = [name for name in start.layers if any(graph.is_per_column(node) for node in graph.inputs_of(name))]
        fixed = {node for name in mixed for node in graph.inputs_of(name)}
        activations: dict[str, FakeGrid] = {}
        for group in graph.groups():
            fake = FakeGrid(
                start.activations[group[0]], start.host.nodes[group[0]].channels, learned and fixed.isdisjoint(group)
            )
            activations.update(dict.fromkeys(group, fake))
        fakes = {}
        for name, layer in start.layers.items():
            if not isinstance(layer, IntegerLinear):
                raise UsageError(f"the layer {name} has dynamic ranges: only static ranges can be trained")
            steps = _steps(start.host.weight(name), layer)
            grid = Grid(layer.weight.spec, layer.weight.scale, layer.weight.zero_point)
            fake = FakeGrid(grid, steps.shape[1], learned, zero_learned=False)
            inputs = None if name in mixed else activations[graph.inputs_of(name)[0]]
            fakes[name] = FakeProduct(steps, fake, layer.inputs.folded.float(), inputs, layer.weight.groups)
            set_product(model, name, fakes[name])
        model.taps.update(activations)
        return cls(start, model, fakes, activations)

    @property
    def observers(self) -> None:
        """None: scales are parameters."""
        return None

    def to(self, device: torch.device) -> None:
        """Moves what is computed with to a device."""
        self.model.to(device)

    def components(self) -> list[TrainedComponent]:
        """The linear layers, also those that stay in float: places on grids, weights and biases."""
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        found = []
        wanted = {*self.products, *self.start.float_layers}
        for name in (name for name in products(self.start.host.nodes) if name in wanted):
            parameters = dict(self.model.slot(name).named_parameters(recurse=False))
            if name in self.products:
                del parameters["weight"]
                steps = {"steps": self.products[name].steps}
                found.append(TrainedComponent(f"{name} weight", steps, STEPS_LEARNING_RATE))
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
        activations = {name: _on_cpu(fake.grid()) for name, fake in self.activations.items()}
        result = replace(self.start, host=host, layers={}, activations=activations)
        for name, product in self.products.items():
            inputs = input_grid(host, self.start.graph, name, activations)
            bias = bias_of(self.model.slot(name)).double().cpu()
            least = least_scale(bias, inputs)
            result.layers[name] = IntegerLinear.build(product.quantized(least), bias, inputs)
        return result


def _on_cpu(grid: Grid) -> Grid:
    return Grid(grid.spec, grid.scale.cpu(), grid.zero_point.cpu())


def _steps(weight: Tensor, layer: IntegerLinear) -> Tensor:
    """The float weights, (out, in), in steps of a layer's grid, moved as far as needed to be near its integers."""
    steps = weight.double() * layer.inputs.folded / layer.weight.scale.double()
    centred = layer.weight.centred.double()
    return torch.minimum(torch.maximum(steps, centred - _LARGEST_DISTANCE), centred + _LARGEST_DISTANCE).float()
