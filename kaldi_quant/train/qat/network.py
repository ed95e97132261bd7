"""A quantized network that can be trained: float weights behind fake quantization, and the way back to integers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.errors import UsageError
from kaldi_quant.nnet.components.affine import Affine, Tdnn
from kaldi_quant.nnet.components.convolution import TimeHeightConvolution
from kaldi_quant.nnet.model import AcousticModel
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.input_grids import input_grid
from kaldi_quant.quant.integer_linear import IntegerLinear, least_scale
from kaldi_quant.quant.linear_components import set_parameters, weight_of
from kaldi_quant.quant.network import LinearModule, QuantizedNetwork
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.train.parameters import TrainedComponent
from kaldi_quant.train.qat.fake_grid import FakeGrid

# A weight begins at most so many steps away from its integer. At half a step, those that post-training quantization
# rounded the other way would be a hair from flipping back, and one step of training would lose what it gained.
_LARGEST_DISTANCE = 0.25


class FakeProduct(nn.Module):
    """A product with fake-quantized weights; stands in for a module's float product.

    Args:
        weight: (out, in), the module's parameter.
        grid: of the weights multiplied by ``folded``.
        folded: (in,) float32, the scales of the input's columns where these differ, else 1.
    """

    folded: Tensor

    def __init__(self, weight: nn.Parameter, grid: FakeGrid, folded: Tensor) -> None:
        super().__init__()
        self.weight = weight
        self.grid = grid
        self.register_buffer("folded", folded)
        self.is_folded = bool((folded != 1).any())

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: (..., in) → (..., out)."""
        weight = self.grid(self.weight * self.folded) / self.folded if self.is_folded else self.grid(self.weight)
        return functional.linear(x, weight, bias)

    @torch.no_grad()
    def quantized(self, least: Tensor) -> QuantizedWeight:
        """The integers; scales stay above ``least``, (out, 1)."""
        grid = self.grid.grid()
        grid = replace(grid, scale=torch.maximum(grid.scale, least))
        return QuantizedWeight.on_grid(grid, grid.quantize(self.weight * self.folded))


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
    model: AcousticModel
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
        start = replace(start)  # its graph may be of a time when it had fewer layers
        model = AcousticModel(start.dequantized())
        activations: dict[str, FakeGrid] = {}
        for group in start.graph.groups():
            grid = start.activations[group[0]]
            fake = FakeGrid(grid, start.nnet.node_dim(group[0]), learned and not start.graph.is_per_column(group[0]))
            activations.update(dict.fromkeys(group, fake))
        products = {}
        for name, layer in start.layers.items():
            if not isinstance(layer, IntegerLinear):
                raise UsageError(f"the layer {name} has dynamic ranges: only static ranges can be trained")
            module = _linear(model, name)
            with torch.no_grad():
                module.weight.copy_(_latent(torch.from_numpy(weight_of(start.nnet.components[name])), layer))
            grid = Grid(layer.weight.spec, layer.weight.scale, layer.weight.zero_point)
            fake = FakeGrid(grid, module.weight.shape[1], learned, zero_learned=False)
            products[name] = FakeProduct(module.weight, fake, layer.inputs.folded.float())
            module.product = products[name]
        model.forget_programs()
        model.taps.update(activations)
        return cls(start, model, products, activations)

    def components(self) -> list[TrainedComponent]:
        """The linear layers, also those that stay in float."""
        found = []
        wanted = {*self.products, *self.start.float_layers}
        for name in (name for name in self.start.nnet.components if name in wanted):
            parameters = dict(_linear(self.model, name).named_parameters(recurse=False))
            found.append(TrainedComponent(name, parameters, max_change=self._max_change(name)))
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        for part in found:
            for parameter in part.parameters.values():
                parameter.requires_grad_(True)
        for scales in self.scales():
            for parameter in scales.parameters.values():
                parameter.requires_grad_(True)
        return found

    def _max_change(self, name: str) -> float:
        return float(self.start.nnet.components[name].get("MaxChange", 0.0))

    def scales(self) -> list[TrainedComponent]:
        """The scales and zero points that are learned."""
        grids = {f"{name} weight": product.grid for name, product in self.products.items()}
        seen: dict[int, str] = {}
        for name, grid in self.activations.items():
            if seen.setdefault(id(grid), name) == name:
                grids[f"{name} values"] = grid
        return [TrainedComponent(name, learned) for name, grid in grids.items() if (learned := grid.learned())]

    @torch.no_grad()
    def converted(self) -> QuantizedNetwork:
        """The network in integers: the very weights that fake quantization has.

        Raises:
            UsageError: the widths would overflow 32-bit accumulators.
        """
        nnet = replace(self.start.nnet, components=dict(self.start.nnet.components))
        for name in self.start.float_layers:
            module = _linear(self.model, name)
            parameters = module.weight.cpu().numpy(), _bias(module).cpu().numpy()
            nnet.components[name] = set_parameters(nnet.components[name], *parameters)
        activations = {name: _on_cpu(fake.grid()) for name, fake in self.activations.items()}
        result = QuantizedNetwork(nnet, {}, activations, self.start.float_layers)
        for name, product in self.products.items():
            inputs = input_grid(self.start.graph, name, activations)
            bias = _bias(_linear(self.model, name)).double().cpu()
            least = least_scale(bias, inputs)
            weight = product.cpu().quantized(least)
            result.layers[name] = IntegerLinear.build(weight, bias, inputs)
        return result


def _linear(model: AcousticModel, name: str) -> LinearModule:
    module = model.component(name)
    assert isinstance(module, Affine | Tdnn | TimeHeightConvolution)
    return module


def _bias(module: LinearModule) -> Tensor:
    return module.weight.new_zeros(len(module.weight)) if module.bias is None else module.bias.detach()


def _on_cpu(grid: Grid) -> Grid:
    return Grid(grid.spec, grid.scale.cpu(), grid.zero_point.cpu())


def _latent(weight: Tensor, layer: IntegerLinear) -> Tensor:
    """The float weights, (out, in), moved as far as needed to be rounded to the layer's integers."""
    folded, scale = layer.inputs.folded, layer.weight.scale.double()
    centred = layer.weight.centred.double()
    steps = weight.double() * folded / scale
    near = torch.minimum(torch.maximum(steps, centred - _LARGEST_DISTANCE), centred + _LARGEST_DISTANCE)
    return (near * scale / folded).float()
