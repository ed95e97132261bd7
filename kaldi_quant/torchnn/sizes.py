"""How large quantized torch networks are."""

from __future__ import annotations

from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.search.cost_model import layer_bytes
from kaldi_quant.torchnn.host import TorchHost
from kaldi_quant.units import Bytes

# Scales are float32, zero points are within a byte or two.
_SCALE_BYTES, _ZERO_POINT_BYTES = 4, 2


def parameter_bytes(network: QuantizedNetwork) -> Bytes:
    """The bytes of all numbers that a network holds: packed integers, scales, zero points, biases, and what is float.

    The graph and names are left out: what they take depends on the form in which the network is stored.

    Args:
        network: of a ``TorchHost``; its integers may mean nothing.
    """
    host = network.host
    assert isinstance(host, TorchHost)
    layers = host.region.layers
    integers = {id(value) for name in network.layers for value in (layers[name].weight, layers[name].bias)}
    others = [*host.region.parameters(), *host.region.buffers()]
    size = sum(value.nbytes for value in others if id(value) not in integers)
    for layer in network.layers.values():
        rows, columns = layer.weight.integers.shape
        size += layer_bytes(rows, columns, layer.weight.spec)
    grids = network.activations.values()
    return size + sum(grid.scale.numel() for grid in grids) * (_SCALE_BYTES + _ZERO_POINT_BYTES)
