"""Networks of ``torch.nn`` as they tell the quantizer of themselves."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from kaldi_quant.errors import ModelError
from kaldi_quant.quant.channel_groups import ChannelGroup
from kaldi_quant.quant.distance import Distance, SquaredError
from kaldi_quant.quant.graph import Node
from kaldi_quant.quant.grouped import grouped_linear
from kaldi_quant.quant.host import Arithmetic, Host, Parameters, Source
from kaldi_quant.torchnn.calls import Call, Inputs
from kaldi_quant.torchnn.copies import plain_copy
from kaldi_quant.torchnn.data import TensorData, digest_of
from kaldi_quant.torchnn.executable import TorchExecutable
from kaldi_quant.torchnn.folding import Offsets, fold
from kaldi_quant.torchnn.forms import FORMS
from kaldi_quant.torchnn.nodes import Description, describe
from kaldi_quant.torchnn.region import Region
from kaldi_quant.torchnn.rescaling import channel_groups, rescaled_parameters
from kaldi_quant.torchnn.untraced import region_of
from kaldi_quant.torchnn.variants import FAILURES


@dataclass(frozen=True, eq=False)
class TorchHost(Host):
    """A torch network ready for quantization, a ``Host``.

    Args:
        region: the network, offsets left out: its output is the original's only with them. Nobody changes it.
        description: its values.
        offsets: for layers what their input lacks, (groups * in,) float64.
        example: how it is called.
        measure: the distance of outputs.
        folded: whether normalizations became part of layers wherever they could.
    """

    region: Region
    description: Description
    offsets: Offsets
    example: Call
    measure: Distance
    folded: bool

    @classmethod
    def of(cls, region: Region, folds: bool, example: Call, distance: Distance) -> TorchHost:
        """Prepares a region; it is changed.

        Raises:
            ModelError: it has no layer.
        """
        offsets = fold(region) if folds else {}
        description = describe(region)
        for inner in region.modules():
            if isinstance(inner, Region):
                inner.finish()
        if not region.layers:
            found = "; ".join(f"{name} is {what}" for name, what in description.float_operations.items())
            raise ModelError(f"the network has no layer that can be quantized ({', '.join(FORMS)}): {found[:300]}")
        return cls(region, description, offsets, example, distance, folds)

    @property
    def nodes(self) -> Mapping[str, Node]:
        """Its values."""
        return self.description.nodes

    @property
    def distance(self) -> Distance:
        """How far outputs are from the float network's."""
        return self.measure

    def float_operations(self) -> dict[str, str]:
        """What is computed in float between grids: for each of these nodes what it is, and why where that is known."""
        return dict(self.description.float_operations)

    def weight(self, layer: str) -> Tensor:
        """(out, in) float32."""
        return self.region.layers[layer].weight.detach().float()

    def bias(self, layer: str, weight: Tensor) -> Tensor:
        """(out,) float64: the bias with the share of the input's offset, for the weight used, (out, in)."""
        found = self.region.layers[layer]
        bias = torch.zeros(len(found.weight), dtype=torch.float64)
        if found.bias is not None:
            bias = bias + found.bias.detach().double()
        if layer in self.offsets:
            bias = bias + grouped_linear(self.offsets[layer], weight.double(), groups=found.groups)
        return bias

    def columns(self, layer: str, values: Mapping[str, Tensor]) -> Tensor:
        """For each column of a layer's weight the value of the node that it meets: () or (channels,) by node."""
        met = self.description.columns.get(layer)
        if met is None:
            # What it reads has one value.
            return next(iter(values.values())).expand(self.region.layers[layer].weight.shape[1])
        return torch.stack([values[node][column] if values[node].dim() else values[node] for node, column in met])

    def float_reason(self, layer: str, static: bool) -> str:
        """Empty: any layer can be in integers."""
        return ""

    def complete(self) -> TorchHost:
        """The whole network in float, the offsets in its biases."""
        weights = {name: self.region.layers[name].weight.detach() for name in self.offsets}
        whole = self.with_parameters({name: (weight, self.bias(name, weight)) for name, weight in weights.items()})
        return replace(whole, offsets={})

    def with_parameters(self, parameters: Parameters) -> TorchHost:
        """The network with other parameters of some layers."""
        region = copy.deepcopy(self.region)
        for name, (weight, bias) in parameters.items():
            layer = region.layers[name]
            with torch.no_grad():
                layer.weight.copy_(weight)
            if layer.bias is not None or bias.any():
                layer.bias = nn.Parameter(bias.detach().to(layer.weight.dtype))
        return replace(self, region=region)

    def executable(self, arithmetic: Mapping[str, Arithmetic] | None = None) -> TorchExecutable:
        """The network in float, some additions and products of two values done in another way."""
        return TorchExecutable(copy.deepcopy(self.region), arithmetic)

    def channel_groups(self) -> list[ChannelGroup]:
        """Channels that can be rescaled without any change of the output."""
        return list(channel_groups(self.region))

    def rescaled(self, factors: Mapping[ChannelGroup, np.ndarray]) -> TorchHost:
        """The network with each channel divided by its factor, and the weights that read it multiplied by the same."""
        parameters, offsets = rescaled_parameters(self.region, self.offsets, factors)
        return replace(self.with_parameters(parameters), offsets=offsets)

    def prepare(self, fold: bool) -> TorchHost:
        """The network prepared once more."""
        whole = self.complete()
        if self.folded or not fold:
            return whole
        for inner in whole.region.modules():
            if isinstance(inner, Region):
                inner.program = inner.program.changeable()
        return TorchHost.of(whole.region, fold, self.example, self.measure)

    def noise(self) -> TensorData:
        """One input of noise."""
        return noise_like(self.example)

    def digest(self) -> str:
        """What tells its structure and parameters from others."""
        found = hashlib.sha256()
        for name, module in self.region.named_modules():
            if isinstance(module, Region):
                found.update(
                    f"{name} {module.graph} {module.original} {module.parts} {module.untraced_code()}".encode()
                )
        for name, value in self.region.state_dict(keep_vars=True).items():
            found.update(name.encode() + digest_of(value))
        for name, offset in self.offsets.items():
            found.update(name.encode() + digest_of(offset))
        return found.hexdigest()


class TorchSource(Source):
    """A torch network as a user has it, a ``Source``; the network itself is never changed.

    Args:
        network: computes in test mode, whatever its mode is.
        example: what it is called with: a tensor, a tuple of arguments, or a dict of arguments by name. Sizes may be
            others later; what the network does may not depend on them.
        distance: how far outputs are from the float network's.

    Example:
        >>> source = TorchSource(network, torch.randn(1, 80, 200))
    """

    def __init__(self, network: nn.Module, example: Inputs, distance: Distance | None = None) -> None:
        self.network = network
        call = Call.of(example).copied(torch.float32)
        self.example = call.with_tensors([x.cpu() for x in call.tensors])
        self.distance = distance or SquaredError()

    def prepare(self, fold: bool) -> TorchHost:
        """The network ready for quantization.

        Raises:
            ModelError: it cannot be run on the example, its weights are not finite, or it has no layer to quantize.
        """
        copied = plain_copy(self.network).cpu().float()
        try:
            with torch.no_grad():
                self.example.copied().run(copy.deepcopy(copied))
        except FAILURES as error:
            shapes = ", ".join(str(tuple(x.shape)) for x in self.example.tensors)
            raise ModelError(f"the network cannot be run on its example, of shape {shapes}: {error}") from error
        return TorchHost.of(region_of(copied, self.example), fold, self.example, self.distance)

    def noise(self) -> TensorData:
        """One input of noise."""
        return noise_like(self.example)

    def digest(self) -> str:
        """What tells its structure and parameters from others."""
        return self.prepare(fold=False).digest()


def noise_like(example: Call) -> TensorData:
    """One input like an example: noise in the place of floats."""
    random = torch.Generator().manual_seed(0)
    values = [torch.randn(x.shape, generator=random) if x.is_floating_point() else x for x in example.tensors]
    data = TensorData(())
    data.units = [("noise", example.with_tensors(values))]
    return data
