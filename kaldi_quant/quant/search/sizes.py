"""The bytes that a layer takes in the artefact, and networks of given widths that have a size and no weights.

A layer's tensors are as ``formats/layer_tensors.py`` writes them. What the artefact holds besides depends on the widths
by a few digits alone; who writes it tells its size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from kaldi_quant.quant.config import LayerConfig
from kaldi_quant.quant.graph import QuantGraph
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.packing import packed_bytes
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.units import Bytes

_SCALE_BYTES = _BIAS_BYTES = 4


def layer_bytes(rows: int, columns: int, spec: QSpec) -> Bytes:
    """The bytes of a quantized layer's weights, scales, zero points and biases.

    Args:
        rows: output channels.
        columns: of the weight.
        spec: the weights' grid; each row has a scale and a bias in the file, and on affine grids a zero point.
    """
    zero_points = 0 if spec.symmetric else packed_bytes(rows, spec.bits)
    return packed_bytes(rows * columns, spec.bits) + (_SCALE_BYTES + _BIAS_BYTES) * rows + zero_points


def hollow_network(base: QuantizedNetwork, layers: Mapping[str, LayerConfig]) -> QuantizedNetwork:
    """A network that takes as many bytes as one of the given widths: its integers mean nothing.

    Args:
        base: quantized in any widths.
        layers: the configuration of each of its layers; those with a ``float_reason`` are in float.
    """
    reasons = {name: layers[name].float_reason for name in base.layers if layers[name].float_reason}
    kept = {name: layer for name, layer in base.layers.items() if name not in reasons}
    static = [name for name, layer in kept.items() if isinstance(layer, IntegerLinear)]
    graph = QuantGraph(base.host.nodes, static, base.matmuls)
    activations: dict[str, Grid] = {}
    for node in graph.nodes:
        grid = base.activations[node]
        readers = [reader for reader in graph.readers.get(node, []) if reader in layers]
        widest = max((layers[reader].act_bits for reader in readers), default=grid.spec.bits)
        activations[node] = replace(grid, spec=replace(grid.spec, bits=widest))
    hollow = {name: _hollow(layer, layers[name]) for name, layer in kept.items()}
    return replace(base, layers=hollow, activations=activations, float_layers={**base.float_layers, **reasons})


def _hollow(layer: IntegerLinear | DynamicLinear, config: LayerConfig) -> IntegerLinear | DynamicLinear:
    integers = torch.zeros_like(layer.weight.integers)
    ones, zeros = torch.ones(len(integers), 1), torch.zeros(len(integers), 1, dtype=torch.int32)
    weight = QuantizedWeight(config.weight_spec(), integers, ones, zeros)
    if isinstance(layer, DynamicLinear):
        return DynamicLinear(weight, layer.bias, config.activation_spec(signed=True))
    return replace(layer, weight=weight)
