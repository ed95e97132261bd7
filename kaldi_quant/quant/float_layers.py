"""Which linear layers stay in float, and why: each is told wherever the result is described."""

from kaldi_quant.kaldi.nnet import ComponentNode
from kaldi_quant.quant.config import LayerConfig
from kaldi_quant.quant.input_grids import has_constant
from kaldi_quant.quant.prepare import PreparedNetwork


def float_reason(prepared: PreparedNetwork, name: str, layer: LayerConfig) -> str:
    """Why a linear layer stays in float; empty where it does not.

    Args:
        prepared: the network.
        name: of the layer.
        layer: how it is to be quantized.
    """
    if layer.float_reason:
        return layer.float_reason
    if name in prepared.transforms and not prepared.folded:
        return "it is a fixed transform of the features, which brings them to equal ranges"
    node = prepared.nnet.nodes[name]
    assert isinstance(node, ComponentNode)
    constant = layer.ranges == "static" and has_constant(node.input)
    return "its input holds a constant, which lies on no grid" if constant else ""
