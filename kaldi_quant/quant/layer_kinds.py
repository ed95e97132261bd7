"""What layers are for in a network, as far as its graph tells: names for groups of layers in configurations."""

from kaldi_quant.quant.graph import Nodes, matmuls, products, recurrent_nodes, uses

#: What a pattern may ask for, written with an @ before it.
KINDS = ("input", "output", "convolution", "recurrent", "bottleneck", "hidden", "matmul")


def layer_kinds(nodes: Nodes) -> dict[str, set[str]]:
    """The kinds of each layer of a prepared network, and of each product of two values.

    ``input``: reads an input of the network. ``output``: is read by an output. ``convolution``: its weights are used
    again at several places. ``recurrent``: depends on its own output at other times. ``bottleneck``: none of these,
    with less than half as many channels as a node that it reads. ``hidden``: the other layers.
    ``matmul``: no layer, but a product of two values that both depend on the input; it has no weights.
    """
    recurrent = recurrent_nodes({name: node.sources for name, node in nodes.items()})
    read_by_outputs = {name for node in nodes.values() if node.op == "output" for name in node.sources}
    found: dict[str, set[str]] = {}
    for name in products(nodes):
        node, of_layer = nodes[name], uses(nodes, name)
        names = {use.name for use in of_layer}
        sources = [nodes[source] for use in of_layer for source in use.sources]
        kinds = set()
        if any(source.op == "input" for source in sources):
            kinds.add("input")
        if names & read_by_outputs:
            kinds.add("output")
        if node.is_convolution:
            kinds.add("convolution")
        if names & recurrent:
            kinds.add("recurrent")
        if not kinds and 2 * node.channels < max((source.channels for source in sources), default=0):
            kinds.add("bottleneck")
        found[name] = kinds or {"hidden"}
    return {**found, **{name: {"matmul"} for name in matmuls(nodes)}}
