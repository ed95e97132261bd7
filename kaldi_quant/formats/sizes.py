"""How large networks are: float parameters that inference needs, and the width of quantized weights."""

from kaldi_quant.kaldi.nnet import ComponentNode, Nnet
from kaldi_quant.kaldi.training_statistics import inference_arrays
from kaldi_quant.nnet3.graph import reachable_nodes
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.quantized_layer import bits_beside
from kaldi_quant.units import Bytes

_FLOAT_BYTES, _FLOAT_BITS = 4, 32


def float_inference_bytes(nnet: Nnet, output: str = "output") -> Bytes:
    """The bytes of the float parameters that an output needs, four each.

    Weights, biases, means and variances of normalizations and whatever else is an array of floats; not the statistics
    of training, and nothing that only other outputs need (the cross-entropy branch of chain models).
    """
    nodes = (nnet.nodes[name] for name in reachable_nodes(nnet, output))
    components = {node.component for node in nodes if isinstance(node, ComponentNode)}
    return sum(_FLOAT_BYTES * array.size for name in components for _, array in inference_arrays(nnet.components[name]))


def bits_per_weight(network: QuantizedNetwork) -> float:
    """The mean width of a weight, over the weight matrices of all linear layers.

    A layer that stays in float counts with 32 bits. Scales, zero points and biases, one for each row, do not count;
    they are part of the file's size. Scales and zero points of groups of a row's columns, and factors of columns, are
    part of the mean.
    """
    widths: list[tuple[int, float]] = []
    for layer in network.layers.values():
        spec, count = layer.weight.spec, layer.weight.integers.numel()
        widths.append((count, spec.bits + bits_beside(layer, spec) / count))
    for name in network.float_layers:
        widths.append((network.host.weight(name).numel(), _FLOAT_BITS))
    weights = sum(count for count, _ in widths)
    return sum(count * bits for count, bits in widths) / weights if weights else float(_FLOAT_BITS)
