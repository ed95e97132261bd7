"""Which nodes of a prepared network lie on integer grids, and which products go straight to one.

A node lies on a grid if a layer with ranges known beforehand reads it, or if a sum that lies on one adds it. Nodes
that a layer reads side by side share their grid, so that one scale serves its whole input; network inputs do not, they
have one scale for each column.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kaldi_quant.kaldi.descriptor import Descriptor, Scale, Sum
from kaldi_quant.kaldi.nnet import ComponentNode, InputNode, Nnet
from kaldi_quant.quant.graph_nodes import readers
from kaldi_quant.quant.linear_components import HEIGHT_TYPES, is_linear


@dataclass(frozen=True)
class Term:
    """One term of a sum.

    Args:
        node: whose values are added.
        coefficient: what they are multiplied by.
        descriptor: the term without the coefficient.
    """

    node: str
    coefficient: float
    descriptor: Descriptor


@dataclass(frozen=True)
class Destination:
    """Where a layer's accumulators go: the grid of a node, with or without a ReLU on the way."""

    node: str
    relu: bool


def linear_layers(nnet: Nnet) -> list[str]:
    """The linear components, in the order of the graph."""
    nodes = nnet.nodes_of(ComponentNode)
    return [node.component for node in nodes if is_linear(nnet.components[node.component])]


class IntegerGraph:
    """The nodes on grids of a network.

    Args:
        nnet: prepared: every component has the name of its only node.
        layers: the layers that multiply integers with ranges known beforehand.
    """

    def __init__(self, nnet: Nnet, layers: Iterable[str]) -> None:
        self.nnet = nnet
        self.layers = list(layers)
        #: For each node that layers read, these.
        self.readers: dict[str, list[str]] = {}
        for layer in self.layers:
            for leaf in self.inputs_of(layer):
                self.readers.setdefault(leaf, []).append(layer)
        #: For each sum of integers its terms.
        self.sums: dict[str, list[Term]] = {}
        #: Every node on a grid, in the order in which they were found.
        self.nodes = list(self.readers)
        for name in self.nodes:  # grows
            terms = self._terms(name)
            if terms:
                self.sums[name] = terms
                self.nodes.extend(term.node for term in terms if term.node not in self.nodes)

    def inputs_of(self, layer: str) -> list[str]:
        """The nodes that a layer reads, each once."""
        node = self.nnet.nodes[layer]
        assert isinstance(node, ComponentNode)
        return list(dict.fromkeys(leaf.node for leaf in node.input.leaves()))

    def is_per_column(self, name: str) -> bool:
        """Whether a node has a scale for each column: network inputs, but not those that a convolution reads."""
        types = {self.nnet.components[reader].type for reader in self.readers.get(name, [])}
        return isinstance(self.nnet.nodes[name], InputNode) and not types & HEIGHT_TYPES

    def groups(self) -> list[list[str]]:
        """The nodes on grids, those together that share one."""
        group = {name: [name] for name in self.nodes}
        for layer in self.layers:
            side_by_side = [name for name in self.inputs_of(layer) if not self.is_per_column(name)]
            merged = list(dict.fromkeys(member for name in side_by_side for member in group[name]))
            group.update(dict.fromkeys(merged, merged))
        return list({id(members): members for members in group.values()}.values())

    def destination(self, layer: str) -> Destination | None:
        """The node on whose grid a layer's result is rounded; None where it is wanted in float."""
        if layer in self.nodes:
            return Destination(layer, relu=False)
        found = readers(self.nnet.nodes, layer)
        if len(found) != 1:
            return None
        node = found[0]
        if not isinstance(node, ComponentNode) or str(node.input) != layer or node.name not in self.nodes:
            return None
        is_relu = self.nnet.components[node.component].type == "RectifiedLinearComponent"
        return Destination(node.name, relu=True) if is_relu else None

    def _terms(self, name: str) -> list[Term]:
        """The terms of a sum whose every term is one node; empty for anything else."""
        node = self.nnet.nodes[name]
        if not isinstance(node, ComponentNode) or self.nnet.components[node.component].type != "NoOpComponent":
            return []
        parts = node.input.sources() if isinstance(node.input, Sum) else (node.input,)
        terms = []
        for part in parts:
            coefficient = part.scale if isinstance(part, Scale) else 1.0
            below = part.source if isinstance(part, Scale) else part
            leaves = {leaf.node for leaf in below.leaves()}
            if len(leaves) != 1 or _computes(below) or isinstance(self.nnet.nodes[min(leaves)], InputNode):
                return []
            terms.append(Term(leaves.pop(), coefficient, below))
        return terms


def _computes(descriptor: Descriptor) -> bool:
    """Whether a descriptor does more than choose rows."""
    return isinstance(descriptor, Sum | Scale) or any(_computes(source) for source in descriptor.sources())
