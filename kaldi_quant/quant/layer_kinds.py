"""What linear layers are for in a network, as far as its graph tells: names for groups of layers in configurations."""

from kaldi_quant.kaldi.nnet import ComponentNode, InputNode, Nnet, OutputNode
from kaldi_quant.kaldi.node_sources import sources
from kaldi_quant.quant.graph_nodes import recurrent_nodes
from kaldi_quant.quant.integer_graph import linear_layers
from kaldi_quant.quant.linear_components import HEIGHT_TYPES, weight_of

#: What a pattern may ask for, written with an @ before it.
KINDS = ("input", "output", "convolution", "recurrent", "bottleneck", "hidden")


def layer_kinds(nnet: Nnet) -> dict[str, set[str]]:
    """The kinds of each linear layer of a prepared network.

    ``input``: reads an input of the network. ``output``: is read by the output node. ``convolution``: its weights are
    used again at every height. ``recurrent``: depends on its own output at other times. ``bottleneck``: none of
    these, with less than half as many rows as a node that it reads has columns. ``hidden``: the others.
    """
    recurrent = recurrent_nodes(nnet.nodes)
    read_by_outputs = {name for node in nnet.nodes_of(OutputNode) for name in sources(node)}
    found: dict[str, set[str]] = {}
    for name in linear_layers(nnet):
        node = nnet.nodes[name]
        assert isinstance(node, ComponentNode)
        kinds = set()
        if any(isinstance(nnet.nodes[source], InputNode) for source in sources(node)):
            kinds.add("input")
        if name in read_by_outputs:
            kinds.add("output")
        if nnet.components[name].type in HEIGHT_TYPES:
            kinds.add("convolution")
        if name in recurrent:
            kinds.add("recurrent")
        rows = len(weight_of(nnet.components[name]))
        if not kinds and 2 * rows < max(nnet.node_dim(source) for source in sources(node)):
            kinds.add("bottleneck")
        found[name] = kinds or {"hidden"}
    return found
