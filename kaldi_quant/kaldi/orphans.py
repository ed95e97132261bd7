"""Nodes that no output needs, and components that no node uses.

Source: ``FindOrphanNodes`` and ``FindOrphanComponents`` in ``src/nnet3/nnet-utils.cc``.
"""

from __future__ import annotations

from dataclasses import replace

from kaldi_quant.kaldi.nnet import ComponentNode, InputNode, Nnet, OutputNode
from kaldi_quant.kaldi.node_sources import sources


def orphan_nodes(nnet: Nnet) -> list[str]:
    """The nodes that no output depends on, in file order."""
    needed: set[str] = set()
    pending = [node.name for node in nnet.nodes_of(OutputNode)]
    while pending:
        name = pending.pop()
        if name in needed:
            continue
        needed.add(name)
        pending.extend(sources(nnet.nodes[name]))
    return [name for name in nnet.nodes if name not in needed]


def without_orphan_nodes(nnet: Nnet, remove_inputs: bool) -> Nnet:
    """The network without nodes that no output depends on.

    Args:
        nnet: the network.
        remove_inputs: whether inputs go, too.
    """
    orphans = {name for name in orphan_nodes(nnet) if remove_inputs or not isinstance(nnet.nodes[name], InputNode)}
    return replace(nnet, nodes={name: node for name, node in nnet.nodes.items() if name not in orphans})


def without_orphan_components(nnet: Nnet) -> Nnet:
    """The network without components that no node uses."""
    used = {node.component for node in nnet.nodes_of(ComponentNode)}
    components = {name: component for name, component in nnet.components.items() if name in used}
    return replace(nnet, components=components)


def without_orphans(nnet: Nnet, remove_inputs: bool = False) -> Nnet:
    """The network without either."""
    return without_orphan_components(without_orphan_nodes(nnet, remove_inputs))
