"""Small questions about the nodes of a network's graph."""

from collections.abc import Mapping

from kaldi_quant.kaldi.nnet import Node
from kaldi_quant.kaldi.node_sources import sources


def readers(nodes: Mapping[str, Node], name: str) -> list[Node]:
    """The nodes that read a node."""
    return [node for node in nodes.values() if name in sources(node)]


def recurrent_nodes(nodes: Mapping[str, Node]) -> set[str]:
    """The nodes that depend on themselves at other times."""
    reach = {name: set(sources(node)) for name, node in nodes.items()}
    recurrent = set()
    for name in nodes:
        seen, pending = set(), list(reach[name])
        while pending:
            source = pending.pop()
            if source not in seen:
                seen.add(source)
                pending.extend(reach[source])
        if name in seen:
            recurrent.add(name)
    return recurrent
