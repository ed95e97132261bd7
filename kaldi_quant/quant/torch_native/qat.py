"""Quantization-aware training by PyTorch: what ``torch.ao.quantization.prepare_qat`` makes, and the way back.

It begins with what quantization after training found. From there on PyTorch's observers follow the weights and the
activations of the minibatches by moving averages, until they are told to stay. Network inputs with a scale for each
column keep their grids, which are multiplied into the first weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.ao import quantization as ao

from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet.components.affine import Affine, Tdnn
from kaldi_quant.nnet.components.convolution import TimeHeightConvolution
from kaldi_quant.nnet.model import AcousticModel
from kaldi_quant.quant.calibration import CalibrationSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import IntegerLinear
from kaldi_quant.quant.linear_components import set_parameters
from kaldi_quant.quant.network import LinearModule, QuantizedNetwork
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.torch_native.eager import quantize_eager
from kaldi_quant.quant.torch_native.engines import engine_in_use, engine_named
from kaldi_quant.quant.torch_native.fake_quantize import (
    activation_fake_quantize,
    begin_at,
    begin_with,
    weight_fake_quantize,
)
from kaldi_quant.quant.torch_native.observed import observed_grid, weight_of_integers
from kaldi_quant.quant.torch_native.plan import Plan, make_plan
from kaldi_quant.quant.torch_native.silence import without_notes
from kaldi_quant.quant.torch_native.standins import Standins


@dataclass(frozen=True)
class TrainedLayer:
    """What is trained of a layer.

    Args:
        weight: (out, in); for inputs with a scale for each column in steps of these scales.
        bias: (out,); None where the layer has none.
        unit: the mean of the scales that are multiplied into the weight, 1 where there are none.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    unit: float = 1.0


class FakeQuantizedNetwork:
    """A network with PyTorch's fake quantization.

    Args:
        plan: what is to be done; all ranges known beforehand.
        start: what quantization after training made of it.
    """

    def __init__(self, plan: Plan, start: QuantizedNetwork) -> None:
        self.plan, self.start = plan, start
        graph = start.graph
        inputs = {name: layer.inputs for name, layer in start.layers.items() if isinstance(layer, IntegerLinear)}
        self.standins = Standins(plan, graph, activation_fake_quantize, weight_fake_quantize, inputs)
        #: The FakeQuantize of each node on a grid.
        self.activations: dict[str, Any] = self.standins.prepare(ao.prepare_qat)
        self.weights = {name: standin.linear.weight_fake_quant for name, standin in self.standins.layers.items()}
        self._begin(inputs)
        #: Computes with fake quantization.
        self.model: AcousticModel = self.standins.put_into(start.dequantized())
        # Those that are multiplied into weights stay.
        mixed = [name for name in start.layers if inputs[name].per_column]
        fixed = {id(self.activations[node]) for name in mixed for node in graph.inputs_of(name)}
        unlike = {id(fake): fake for fake in [*self.weights.values(), *self.activations.values()]}
        for number in fixed:
            unlike[number].disable_observer()
        self._following = [fake for number, fake in unlike.items() if number not in fixed]
        # A result that is wanted in float lies on no grid.
        on_grids = {id(fake) for fake in self.activations.values()}
        for standin in self.standins.layers.values():
            if id(standin.linear.activation_post_process) not in on_grids:
                standin.linear.activation_post_process = nn.Identity()

    @torch.no_grad()
    def _begin(self, inputs: dict[str, Any]) -> None:
        begun = set()
        for name, fake in self.activations.items():
            if id(fake) not in begun:
                begin_at(fake, self.start.activations[name])
                begun.add(id(fake))
        for name, standin in self.standins.layers.items():
            begin_with(self.weights[name], standin.linear.weight)
            layer = self.start.layers[name]
            assert isinstance(layer, IntegerLinear)
            standin.linear.bias.copy_(layer.dequantized_bias())

    def to(self, device: torch.device) -> None:
        """Moves what is computed with to a device."""
        for module in (self.model, *self.standins.stubs.values()):
            module.to(device)

    def layers(self) -> dict[str, TrainedLayer]:
        """What is trained, by layer, also of those that stay in float, in the order of the file."""
        found = {}
        for name in self.start.nnet.components:
            if name in self.standins.layers:
                standin, module = self.standins.layers[name], _linear(self.model, name)
                unit = 1.0 if standin.folded is None else float(standin.folded.mean())
                bias = None if module.bias is None else standin.linear.bias
                found[name] = TrainedLayer(standin.linear.weight, bias, unit)
            elif name in self.start.float_layers:
                module = _linear(self.model, name)
                found[name] = TrainedLayer(module.weight, module.bias)
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
        biases = {name: standin.linear.bias.detach().double().cpu() for name, standin in self.standins.layers.items()}
        result = self.plan.network(weights, grids, self.plan.inputs_of(self.start.graph, grids), biases)
        components = dict(result.nnet.components)
        for name in result.float_layers:
            module = _linear(self.model, name)
            bias = module.weight.new_zeros(len(module.weight)) if module.bias is None else module.bias.detach()
            components[name] = set_parameters(components[name], module.weight.cpu().numpy(), bias.cpu().numpy())
        return replace(result, nnet=replace(result.nnet, components=components))

    def _grid(self, node: str) -> Grid:
        found = observed_grid(self.activations[node], self.standins.specs[node])
        return replace(found, scale=found.scale.cpu(), zero_point=found.zero_point.cpu())

    def _weight(self, layer: str) -> QuantizedWeight:
        fake = self.weights[layer]
        scale = fake.scale if fake.is_per_channel else fake.scale.reshape(())
        values = fake(self.standins.layers[layer].linear.weight)
        integers = (values / scale.reshape((-1, 1) if scale.dim() else ())).round()
        return weight_of_integers(integers.cpu(), scale.cpu(), self.plan.layers[layer])


def fake_quantized(nnet: Nnet, config: PtqConfig, data: CalibrationSet) -> FakeQuantizedNetwork:
    """A network to be trained, from where quantization after training leaves it.

    Args:
        nnet: as read from its file.
        config: with the backend torch.
        data: the calibration set; never test data.

    Raises:
        UsageError: the configuration asks for what PyTorch does not do, or what cannot be trained.
        DataError: the calibration set cannot be used.
        ModelError: the network cannot be executed.
    """
    engine = engine_named(config.engine)
    plan = make_plan(nnet, config, data)
    if plan.dynamic:
        raise UsageError(f"the layer {plan.dynamic[0]} has dynamic ranges: only static ranges can be trained")
    with without_notes(), engine_in_use(engine):
        return FakeQuantizedNetwork(plan, quantize_eager(plan, data))


def _linear(model: AcousticModel, name: str) -> LinearModule:
    module = model.component(name)
    assert isinstance(module, Affine | Tdnn | TimeHeightConvolution)
    return module
