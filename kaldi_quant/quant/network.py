"""A network whose linear components run in integers, and whose activations lie on integer grids."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kaldi_quant.kaldi.nnet import ComponentNode, Nnet
from kaldi_quant.nnet.components.affine import Affine, Tdnn
from kaldi_quant.nnet.components.convolution import TimeHeightConvolution
from kaldi_quant.nnet.model import AcousticModel
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import IntegerLinear
from kaldi_quant.quant.linear_components import is_linear, set_parameters
from kaldi_quant.quant.prepare import PreparedNetwork


def linear_layers(nnet: Nnet) -> list[str]:
    """The linear components, in the order of the graph."""
    nodes = nnet.nodes_of(ComponentNode)
    return [node.component for node in nodes if is_linear(nnet.components[node.component])]


def activation_nodes(nnet: Nnet, layers: list[str]) -> dict[str, list[str]]:
    """The nodes whose output the given layers read, each with its layers."""
    readers: dict[str, list[str]] = {}
    for node in nnet.nodes_of(ComponentNode):
        if node.component in layers:
            for leaf in node.input.leaves():
                readers.setdefault(leaf.node, []).append(node.component)
    return readers


class _IntegerProduct(torch.nn.Module):
    """Takes the place of a module's float product."""

    def __init__(self, layer: IntegerLinear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: (..., in) on the grid → (..., out); the bias is the layer's own."""
        return self.layer.forward(x)


@dataclass
class QuantizedNetwork:
    """The result of quantization.

    Args:
        prepared: the float network that was quantized.
        layers: the integer form of each quantized layer.
        activations: the grid of each node that a quantized layer reads; scale () or, for features, (dim,).
        float_layers: the layers that stay in float, with the reason.
    """

    prepared: PreparedNetwork
    layers: dict[str, IntegerLinear]
    activations: dict[str, Grid]
    float_layers: dict[str, str]

    def dequantized(self) -> Nnet:
        """The network with the quantized weights in float: what Kaldi and Vosk can run."""
        nnet = self.prepared.float_nnet()
        for name, layer in self.layers.items():
            weight, bias = layer.dequantized_weight().numpy(), layer.dequantized_bias().numpy()
            nnet.components[name] = set_parameters(nnet.components[name], weight, bias)
        return nnet

    def model(self) -> AcousticModel:
        """The network in torch: activations on their grids, products in exact integers."""
        model = AcousticModel(self.dequantized())
        for name, grid in self.activations.items():
            model.taps[name] = grid.fake
        for name, layer in self.layers.items():
            module = model.component(name)
            assert isinstance(module, Affine | Tdnn | TimeHeightConvolution)
            module.product = _IntegerProduct(layer)
        return model
