"""The values of a prepared nnet3 network as nodes that quantization decides on."""

from __future__ import annotations

from collections.abc import Sequence

from kaldi_quant.kaldi.descriptor import Descriptor, NodeName, Scale, Sum
from kaldi_quant.kaldi.nnet import ComponentNode, InputNode, Nnet, OutputNode
from kaldi_quant.kaldi.nnet import Node as Nnet3Node
from kaldi_quant.kaldi.node_sources import sources
from kaldi_quant.nnet3.preparation.linear_components import HEIGHT_TYPES, is_linear
from kaldi_quant.quant.graph import Node, Read


def nodes_of(nnet: Nnet) -> dict[str, Node]:
    """The nodes of a network in which every component has the name of its only node."""
    return {name: _node(nnet, node) for name, node in nnet.nodes.items()}


def _node(nnet: Nnet, node: Nnet3Node) -> Node:
    name, channels = node.name, nnet.node_dim(node.name)
    if isinstance(node, InputNode):
        return Node(name, "input", (), channels)
    if not isinstance(node, ComponentNode):
        return Node(name, "output" if isinstance(node, OutputNode) else "other", _reads(node), channels)
    component = nnet.components[node.component]
    if is_linear(component):
        return Node(name, "product", _reads(node), channels, component.type in HEIGHT_TYPES)
    if component.type == "RectifiedLinearComponent":
        return Node(name, "relu", _reads(node), channels)
    terms = addends(node.input) if component.type == "NoOpComponent" else None
    if terms is None:
        return Node(name, "other", _reads(node), channels)
    reads = [Read(next(term.leaves()).node, factor, isinstance(term, NodeName)) for factor, term in terms]
    return Node(name, "add", tuple(reads), channels)


def _reads(node: Nnet3Node) -> tuple[Read, ...]:
    whole = not isinstance(node, InputNode) and isinstance(getattr(node, "input", None), NodeName)
    return tuple(Read(source, whole=whole) for source in sources(node))


def addends(descriptor: Descriptor) -> Sequence[tuple[float, Descriptor]] | None:
    """The terms of a sum as (coefficient, the term without it), if each is one node at some time; None for others."""
    terms: list[tuple[float, Descriptor]] = []
    for part in descriptor.sources() if isinstance(descriptor, Sum) else (descriptor,):
        factor = part.scale if isinstance(part, Scale) else 1.0
        below = part.source if isinstance(part, Scale) else part
        if len({leaf.node for leaf in below.leaves()}) != 1 or _computes(below):
            return None
        terms.append((factor, below))
    return terms


def _computes(descriptor: Descriptor) -> bool:
    """Whether a descriptor does more than choose rows."""
    return isinstance(descriptor, Sum | Scale) or any(_computes(source) for source in descriptor.sources())
