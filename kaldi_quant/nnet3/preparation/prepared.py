"""A network ready for quantization, as it tells the quantizer of itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.kaldi.descriptor import Append, Const, Descriptor, NodeName
from kaldi_quant.kaldi.nnet import ComponentNode, Nnet
from kaldi_quant.kaldi.writer import BinaryWriter
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference_options import InferenceOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.preparation.additions import with_additions
from kaldi_quant.nnet3.preparation.channel_groups import channel_groups, rescale
from kaldi_quant.nnet3.preparation.draft import drafted
from kaldi_quant.nnet3.preparation.linear_components import (
    HEIGHT_TYPES,
    bias_of,
    is_linear,
    set_parameters,
    weight_of,
)
from kaldi_quant.nnet3.preparation.nodes import nodes_of
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.channel_groups import ChannelGroup
from kaldi_quant.quant.distance import KullbackLeibler
from kaldi_quant.quant.graph import Node
from kaldi_quant.quant.host import Arithmetic, Host, Parameters, Source

# Frames of the noise that stands for speech: enough for the context of any model that is used, since edges repeat.
_NOISE_FRAMES = 200


@dataclass(frozen=True)
class PreparedNetwork(Host):
    """A network ready for quantization, a ``Host``.

    Args:
        nnet: the network, offsets left out: its output is the original's only with them. Every component has the name
            of its only node.
        input_offsets: for each linear component what its input lacks, (input columns,) float64.
        transforms: the linear components that were fixed in training and read nothing but inputs of the network, such
            as LDA.
        folded: whether normalizations and these transforms became part of layers wherever they could.
    """

    nnet: Nnet
    input_offsets: Mapping[str, np.ndarray]
    transforms: frozenset[str] = frozenset()
    folded: bool = True

    @classmethod
    def of(cls, nnet: Nnet) -> PreparedNetwork:
        """A network that was prepared before, and lacks nothing."""
        return cls(nnet, {})

    @cached_property
    def nodes(self) -> Mapping[str, Node]:
        """Its values."""
        return nodes_of(self.nnet)

    @property
    def distance(self) -> KullbackLeibler:
        """Of distributions over pdfs."""
        return KullbackLeibler()

    def weight(self, layer: str) -> Tensor:
        """(out, in) float32."""
        return torch.from_numpy(weight_of(self.nnet.components[layer]))

    def bias(self, layer: str, weight: Tensor) -> Tensor:
        """(out,) float64: the bias with the share of the input's offset, for the weight used, (out, in)."""
        bias = bias_of(self.nnet.components[layer]).astype(np.float64)
        offset = self.input_offsets.get(layer)
        if offset is not None:
            bias = bias + weight.numpy().astype(np.float64) @ offset
        return torch.from_numpy(bias)

    def columns(self, layer: str, values: Mapping[str, Tensor]) -> Tensor:
        """For each column of a layer's weight the value of the node that it meets; values: () or (dim,) by node."""
        node, component = self.nnet.nodes[layer], self.nnet.components[layer]
        assert isinstance(node, ComponentNode)
        columns = weight_of(component).shape[1]
        one = _by_column(node.input, lambda name: values[name].expand(self.nnet.node_dim(name)))
        # A TdnnComponent's columns repeat for each time offset; a convolution's input has one value for all columns.
        return one[:1].expand(columns) if component.type in HEIGHT_TYPES else one.repeat(columns // len(one))

    def float_reason(self, layer: str, static: bool) -> str:
        """Why a layer must stay in float; empty where it need not."""
        if layer in self.transforms and not self.folded:
            return "it is a fixed transform of the features, which brings them to equal ranges"
        node = self.nnet.nodes[layer]
        assert isinstance(node, ComponentNode)
        return "its input holds a constant, which lies on no grid" if static and _has_constant(node.input) else ""

    def complete(self) -> PreparedNetwork:
        """The whole network in float, the offsets in its biases."""
        components = dict(self.nnet.components)
        for name, component in components.items():
            if is_linear(component):
                weight = self.weight(name)
                components[name] = set_parameters(component, weight.numpy(), self.bias(name, weight).numpy())
        return PreparedNetwork.of(replace(self.nnet, components=components))

    def with_parameters(self, parameters: Parameters) -> PreparedNetwork:
        """The network with other parameters of some layers."""
        components = dict(self.nnet.components)
        for name, (weight, bias) in parameters.items():
            components[name] = set_parameters(components[name], weight.numpy(), bias.numpy())
        return replace(self, nnet=replace(self.nnet, components=components))

    def executable(self, arithmetic: Mapping[str, Arithmetic] | None = None) -> AcousticModel:
        """The network in float, some additions done in another way; there are no products of two values."""
        return with_additions(self.nnet, arithmetic or {})

    def channel_groups(self) -> list[ChannelGroup]:
        """Channels that can be rescaled without any change of the output."""
        return channel_groups(self.nnet)

    def rescaled(self, factors: Mapping[ChannelGroup, np.ndarray]) -> PreparedNetwork:
        """The network with each channel divided by its factor, and the weights that read it multiplied by the same."""
        nnet, offsets = rescale(self.nnet, self.input_offsets, factors)
        return replace(self, nnet=nnet, input_offsets=offsets)

    def prepare(self, fold: bool) -> PreparedNetwork:
        """The network prepared once more."""
        return prepare(self.complete().nnet, fold=fold)

    def noise(self) -> UtteranceSet:
        """One utterance of noise."""
        return noise_for(self.nnet)

    def digest(self) -> str:
        """What tells its structure and parameters from others."""
        return digest_of(self.nnet)


@dataclass(frozen=True)
class Nnet3Source(Source):
    """A network as read from its file, a ``Source``.

    Args:
        nnet: the network.
    """

    nnet: Nnet

    def prepare(self, fold: bool) -> PreparedNetwork:
        """The part of it that its output needs, ready for quantization."""
        return prepare(self.nnet, fold=fold)

    def noise(self) -> UtteranceSet:
        """One utterance of noise."""
        return noise_for(self.nnet)

    def digest(self) -> str:
        """What tells its structure and parameters from others."""
        return digest_of(self.nnet)


def prepare(nnet: Nnet, output: str = "output", fold: bool = True) -> PreparedNetwork:
    """Prepares the part of a network that an output needs.

    Args:
        nnet: as read from the file; it is left as it is.
        output: the output node.
        fold: whether normalizations and fixed transforms become part of layers; else each layer keeps its weights.

    Raises:
        ModelError: it has no such output, lacks values that inference needs, or has no layer to quantize.
    """
    return PreparedNetwork(*drafted(nnet, output, fold), fold)


def nnet_of(host: Host) -> Nnet:
    """The nnet3 network behind a host.

    Raises:
        TypeError: it is another kind of network.
    """
    if not isinstance(host, PreparedNetwork):
        raise TypeError(f"expected an nnet3 network, found {type(host).__name__}")
    return host.nnet


def digest_of(nnet: Nnet) -> str:
    """What tells a network from others."""
    writer = BinaryWriter()
    nnet.write(writer)
    return hashlib.sha256(writer.getvalue()).hexdigest()


def noise_for(nnet: Nnet) -> UtteranceSet:
    """One utterance of noise, with an i-vector."""
    model = AcousticModel(nnet)
    random = np.random.default_rng(0)
    feats = random.standard_normal((_NOISE_FRAMES, model.input_dim)).astype(np.float32)
    ivector = random.standard_normal(model.ivector_dim).astype(np.float32)
    return UtteranceSet([("noise", feats)], InferenceOptions(ChunkOptions()), lambda utterance: ivector)


def _has_constant(descriptor: Descriptor) -> bool:
    """Whether a descriptor holds a constant, which lies on no grid."""
    return isinstance(descriptor, Const) or any(_has_constant(part) for part in descriptor.sources())


def _by_column(descriptor: Descriptor, of_node: Callable[[str], Tensor]) -> Tensor:
    """One value for each column of a descriptor, from the values of its nodes.

    Of alternatives (Failover, Switch) the first counts: what a layer reads has one grid, but for network inputs.
    """
    match descriptor:
        case NodeName(node):
            return of_node(node)
        case Append(parts):
            return torch.cat([_by_column(part, of_node) for part in parts])
    return _by_column(descriptor.sources()[0], of_node)
