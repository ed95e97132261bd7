"""Which nodes a node reads, and the same node where it reads others.

Source: ``src/nnet3/nnet-nnet.h``: inputs read nothing, dim-range nodes a node, all others a descriptor.
"""

from collections.abc import Mapping
from dataclasses import replace

from kaldi_quant.kaldi.descriptor import substitute
from kaldi_quant.kaldi.nnet import DimRangeNode, InputNode, Node


def sources(node: Node) -> list[str]:
    """The nodes that a node reads, each as often as it is mentioned."""
    if isinstance(node, InputNode):
        return []
    if isinstance(node, DimRangeNode):
        return [node.input_node]
    return [leaf.node for leaf in node.input.leaves()]


def readers(nodes: Mapping[str, Node], name: str) -> list[Node]:
    """The nodes that read a node."""
    return [node for node in nodes.values() if name in sources(node)]


def redirected(node: Node, instead: Mapping[str, Node]) -> Node:
    """A node that reads other nodes than before.

    Args:
        node: it may read itself.
        instead: by the name of a node that was read, the one to read in its place. Columns of a dim-range node become
            columns of what that reads, since Kaldi nests none.
    """
    if isinstance(node, InputNode):
        return node
    if not isinstance(node, DimRangeNode):
        return replace(node, input=substitute(node.input, {name: other.name for name, other in instead.items()}))
    other = instead.get(node.input_node)
    if isinstance(other, DimRangeNode):
        return replace(node, input_node=other.input_node, dim_offset=node.dim_offset + other.dim_offset)
    return node if other is None else replace(node, input_node=other.name)
