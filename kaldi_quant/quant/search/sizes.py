"""The bytes that a layer takes in the artefact, and networks of given widths that have a size and no weights.

A layer's tensors are as ``export/layer_tensors.py`` writes them. What the artefact holds besides depends on the widths
by a few digits alone; who writes it tells its size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from kaldi_quant.quant.config import LayerConfig
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_graph import IntegerGraph
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.packing import packed_bytes, signed_width
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.spec import Bits, QSpec

Bytes = int

_FLOAT_BYTES = 4


def bias_bits(layer: IntegerLinear | DynamicLinear) -> Bits:
    """The width in which a layer's bias is stored; 0 where all are zero."""
    return 8 * _FLOAT_BYTES if isinstance(layer, DynamicLinear) else signed_width(layer.bias.numpy())


def layer_bytes(rows: int, columns: int, spec: QSpec, bias: Bits) -> Bytes:
    """The bytes of a quantized layer's weights, scales, zero points and biases.

    Args:
        rows: output channels.
        columns: of the weight.
        spec: the weights' grid; each row has a scale in the file, and on affine grids a zero point.
        bias: the width of the stored bias.
    """
    zero_points = 0 if spec.symmetric else packed_bytes(rows, spec.bits)
    return packed_bytes(rows * columns, spec.bits) + _FLOAT_BYTES * rows + zero_points + packed_bytes(rows, bias)


def hollow_network(
    base: QuantizedNetwork, layers: Mapping[str, LayerConfig], biases: Mapping[str, Bits]
) -> QuantizedNetwork:
    """A network that takes as many bytes as one of the given widths: its integers mean nothing.

    Args:
        base: quantized in any widths.
        layers: the configuration of each of its layers; those with a ``float_reason`` are in float.
        biases: for each layer the width of its stored bias.
    """
    reasons = {name: layers[name].float_reason for name in base.layers if layers[name].float_reason}
    kept = {name: layer for name, layer in base.layers.items() if name not in reasons}
    graph = IntegerGraph(base.nnet, [name for name, layer in kept.items() if isinstance(layer, IntegerLinear)])
    activations: dict[str, Grid] = {}
    for node in graph.nodes:
        grid = base.activations[node]
        widest = max((layers[reader].act_bits for reader in graph.readers.get(node, [])), default=grid.spec.bits)
        activations[node] = replace(grid, spec=replace(grid.spec, bits=widest))
    hollow = {name: _hollow(layer, layers[name], biases[name]) for name, layer in kept.items()}
    return QuantizedNetwork(base.nnet, hollow, activations, {**base.float_layers, **reasons})


def _hollow(layer: IntegerLinear | DynamicLinear, config: LayerConfig, bias: Bits) -> IntegerLinear | DynamicLinear:
    integers = torch.zeros_like(layer.weight.integers)
    ones, zeros = torch.ones(len(integers), 1), torch.zeros(len(integers), 1, dtype=torch.int32)
    weight = QuantizedWeight(config.weight_spec(), integers, ones, zeros)
    if isinstance(layer, DynamicLinear):
        return DynamicLinear(weight, layer.bias, config.activation_spec(signed=True))
    largest = (1 << (bias - 1)) - 1 if bias else 0
    # One bit, which only -1 and 0 fit, is that of -1.
    values = torch.full((len(integers),), -1 if bias == 1 else largest, dtype=torch.int32)
    return replace(layer, weight=weight, bias=values)
