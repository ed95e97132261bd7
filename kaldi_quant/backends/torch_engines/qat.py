"""Quantization-aware training by PyTorch: what ``prepare_qat`` or ``prepare_qat_pt2e`` makes, and the way back.

It begins with what quantization after training found. From there on PyTorch's observers follow the weights and the
activations of the minibatches by moving averages, until they are told to stay. Network inputs with a scale for each
column keep their grids, which are multiplied into the first weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kaldi_quant.backends.torch_engines import eager  # noqa: F401 - adds its route
from kaldi_quant.backends.torch_engines.engines import engine_in_use, engine_named
from kaldi_quant.backends.torch_engines.fake_quantize import (
    BiasOnSteps,
    Prepared,
    begin_at,
    begin_with,
)
from kaldi_quant.backends.torch_engines.observed import observed_grid, weight_of_integers
from kaldi_quant.backends.torch_engines.plan import Plan, make_plan
from kaldi_quant.backends.torch_engines.routes import ROUTES
from kaldi_quant.backends.torch_engines.silence import without_notes
from kaldi_quant.backends.torch_engines.wrappers import with_modules
from kaldi_quant.errors import UsageError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.graph import products
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.host import Data, Executable, Source
from kaldi_quant.quant.integer_linear import IntegerLinear
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.slots import trained_in_float


@dataclass(frozen=True)
class TrainedLayer:
    """What is trained of a layer.

    Args:
        weight: (out, in); for inputs with a scale for each column in steps of these scales.
        bias: (out,); None where the layer has none.
        step: the median step of the weights' grids at the beginning; 1 for layers that stay in float.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    step: float = 1.0


class FakeQuantizedNetwork:
    """A network with PyTorch's fake quantization.

    Args:
        plan: what is to be done; all ranges known beforehand.
        start: what quantization after training made of it.
        prepared: the modules that PyTorch has prepared.
    """

    def __init__(self, plan: Plan, start: QuantizedNetwork, prepared: Prepared) -> None:
        self.plan, self.start, self.prepared = plan, start, prepared
        #: The FakeQuantize of each layer's weight, and of each node on a grid.
        self.weights, self.activations = prepared.weights, prepared.activations
        self.biases: dict[str, nn.Parameter] = {}
        self._begin()
        self._following = self._find_following()
        self.steps = {name: float(fake.scale.median()) for name, fake in self.weights.items()}
        #: Computes with fake quantization.
        self.model: Executable = with_modules(start.dequantized(), prepared.products, prepared.taps)

    @torch.no_grad()
    def _begin(self) -> None:
        """Grids and biases are those of the start."""
        shared = {id(fake): name for name, fake in self.activations.items()}
        for name in shared.values():
            begin_at(self.activations[name], self.start.activations[name])
        for name, linear in self.prepared.linears.items():
            layer = self.start.layers[name]
            assert isinstance(layer, IntegerLinear)
            begin_with(self.weights[name], linear.weight)
            linear.bias.copy_(layer.dequantized_bias())
            inputs = None if layer.inputs.per_column else self.activations[self.start.graph.inputs_of(name)[0]]
            parametrize.register_parametrization(linear, "bias", BiasOnSteps(self.weights[name], inputs))
            self.biases[name] = linear.parametrizations.bias.original

    def _find_following(self) -> list[Any]:
        """The FakeQuantize modules whose ranges may change: grids that are multiplied into weights stay."""
        graph = self.start.graph
        inputs = [graph.inputs_of(name) for name in self.prepared.linears]
        mixed = [nodes for nodes in inputs if any(graph.is_per_column(node) for node in nodes)]
        fixed = [self.activations[node] for nodes in mixed for node in nodes]
        for fake in fixed:
            fake.disable_observer()
        different = {id(fake): fake for fake in [*self.weights.values(), *self.activations.values()]}
        return [fake for number, fake in different.items() if number not in set(map(id, fixed))]

    def to(self, device: torch.device) -> None:
        """Moves what is computed with to a device."""
        self.model.to(device)

    def layers(self) -> dict[str, TrainedLayer]:
        """What is trained, by layer, also of those that stay in float, in the order of the file."""
        found = {}
        for name in products(self.start.host.nodes):
            if name not in self.prepared.linears and name not in self.start.float_layers:
                continue
            slot = self.model.slot(name)
            if name in self.prepared.linears:
                bias = None if slot.bias is None else self.biases[name]
                found[name] = TrainedLayer(self.prepared.linears[name].weight, bias, self.steps[name])
            else:
                found[name] = TrainedLayer(slot.weight, slot.bias)
        return found

    def freeze(self, frozen: bool) -> None:
        """Keeps all ranges as they are, or lets them go on."""
        for fake in self._following:
            fake.enable_observer(not frozen)

    def tensors(self) -> dict[str, Tensor]:
        """The state of observers and grids, by name."""
        named = {f"{name} weight": fake for name, fake in self.weights.items()}
        named.update({f"{name} values": fake for name, fake in self.activations.items()})
        return {f"{name} {key}": value for name, fake in named.items() for key, value in fake.named_buffers()}

    @torch.no_grad()
    def converted(self) -> QuantizedNetwork:
        """The network in integers, as fake quantization has it.

        Raises:
            UsageError: the widths would overflow 32-bit accumulators.
        """
        grids = {name: self._grid(name) for name in self.activations}
        weights = {name: self._weight(name) for name in self.weights}
        biases = {name: bias.detach().double().cpu() for name, bias in self.biases.items()}
        result = self.plan.network(weights, grids, self.plan.inputs_of(self.start.graph, grids), biases)
        in_float = trained_in_float(self.model, result.float_layers)
        return replace(result, host=result.host.with_parameters(in_float))

    def _grid(self, node: str) -> Grid:
        found = observed_grid(self.activations[node], self.start.activations[node].spec)
        return replace(found, scale=found.scale.cpu(), zero_point=found.zero_point.cpu())

    def _weight(self, layer: str) -> QuantizedWeight:
        fake = self.weights[layer]
        scale = fake.scale if fake.is_per_channel else fake.scale.reshape(())
        values = fake(self.prepared.linears[layer].weight)
        integers = (values / scale.reshape((-1, 1) if scale.dim() else ())).round()
        return weight_of_integers(integers.cpu(), scale.cpu(), self.plan.layers[layer])


def fake_quantized(source: Source, config: PtqConfig, data: Data) -> FakeQuantizedNetwork:
    """A network to be trained, from where quantization after training leaves it.

    Args:
        source: the float network.
        config: with the backend torch.
        data: the calibration set; never test data.

    Raises:
        UsageError: the configuration asks for what PyTorch does not do, or what cannot be trained.
        DataError: the calibration set cannot be used.
        ModelError: the network cannot be executed.
    """
    engine = engine_named(config.engine)
    plan = make_plan(source, config, data)
    if plan.dynamic:
        raise UsageError(f"the layer {plan.dynamic[0]} has dynamic ranges: PyTorch trains static ranges only")
    with without_notes(), engine_in_use(engine):
        route = ROUTES[config.route]
        start = route.quantize(plan, data, None)
        # A route may leave more layers in float.
        plan = plan.without({name: start.float_layers[name] for name in plan.layers if name not in start.layers})
        return FakeQuantizedNetwork(plan, start, route.prepare_qat(plan, start))
