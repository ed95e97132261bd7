"""What layers are for in a network, as far as its graph tells: names for groups of layers in configurations."""

from kaldi_quant.quant.graph import Nodes, products, recurrent_nodes

#: What a pattern may ask for, written with an @ before it.
KINDS = ("input", "output", "convolution", "recurrent", "bottleneck", "hidden")


def layer_kinds(nodes: Nodes) -> dict[str, set[str]]:
    """The kinds of each layer of a prepared network.

    ``input``: reads an input of the network. ``output``: is read by an output. ``convolution``: its weights are used
    again at several places. ``recurrent``: depends on its own output at other times. ``bottleneck``: none of these,
    with less than half as many channels as a node that it reads. ``hidden``: the others.
    """
    recurrent = recurrent_nodes({name: node.sources for name, node in nodes.items()})
    read_by_outputs = {name for node in nodes.values() if node.op == "output" for name in node.sources}
    found: dict[str, set[str]] = {}
    for name in products(nodes):
        node = nodes[name]
        kinds = set()
        if any(nodes[source].op == "input" for source in node.sources):
            kinds.add("input")
        if name in read_by_outputs:
            kinds.add("output")
        if node.is_convolution:
            kinds.add("convolution")
        if name in recurrent:
            kinds.add("recurrent")
        if not kinds and 2 * node.channels < max(nodes[source].channels for source in node.sources):
            kinds.add("bottleneck")
        found[name] = kinds or {"hidden"}
    return found
