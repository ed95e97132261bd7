"""A quantized network's graph for kernels of integers: which nodes hold integers, and where these become floats.

Every node on a grid is quantized once, however many layers splice it, and what reads it reads either its integers or
its values on the grid. Between consecutive integer layers there are no floats at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.descriptor import Descriptor, IfDefined, NodeName
from kaldi_quant.kaldi.nnet import ComponentNode, Nnet, Node
from kaldi_quant.kaldi.node_sources import readers, redirected
from kaldi_quant.nnet3.components import Registry
from kaldi_quant.nnet3.preparation.additions import terms_side_by_side
from kaldi_quant.nnet3.preparation.prepared import nnet_of
from kaldi_quant.nnet3.time_access import TimeOffsets
from kaldi_quant.quant.graph import Destination, Read
from kaldi_quant.quant.integer_linear import IntegerLinear
from kaldi_quant.quant.network import QuantizedNetwork


@dataclass
class Wiring:
    """A network whose nodes on grids hold integers.

    Args:
        nnet: the graph; components that are replaced stand in it as others of their size.
        destinations: for each layer with ranges known beforehand the node on whose grid its result is rounded, if any.
        sums: the sums of integers, by node; their terms are side by side.
        takers: the layers and sums that are given integers; the other ones are given values on the grid.
        on_grid: nodes that put floats on a grid, and the node whose grid it is.
        from_grid: nodes that hold values on a grid for what computes in float, likewise.
        passed: the ReLUs that the layers before them have done already.
    """

    nnet: Nnet
    destinations: dict[str, Destination | None]
    sums: dict[str, tuple[Read, ...]]
    takers: set[str]
    on_grid: dict[str, str] = field(default_factory=dict)
    from_grid: dict[str, str] = field(default_factory=dict)
    passed: list[str] = field(default_factory=list)


def wire(network: QuantizedNetwork) -> Wiring:
    """The graph of a quantized network with its integers in the nodes."""
    return _Draft(network).finish()


class _Draft:
    def __init__(self, network: QuantizedNetwork) -> None:
        self.network, graph = network, network.graph
        self.nnet = nnet = nnet_of(network.dequantized())
        self.nodes, self.components = dict(nnet.nodes), dict(nnet.components)
        static = [name for name, layer in network.layers.items() if isinstance(layer, IntegerLinear)]
        found = {name: graph.destination(name) for name in static}
        kept = {name: end if end and end.node in network.activations else None for name, end in found.items()}
        sums = {name: terms for name, terms in graph.sums.items() if name in network.activations}
        # Not those whose input may be absent, because then it is the float zero.
        takers = {name for name in (*static, *sums) if self._is_always_there(name)}
        self.result = Wiring(nnet, kept, sums, takers)
        #: Nodes that come as integers.
        self.integer = {end.node for end in kept.values() if end} | set(sums)

    def _is_always_there(self, name: str) -> bool:
        node = self.nodes[name]
        assert isinstance(node, ComponentNode)
        access = Registry.build(name, self.components[name]).access
        optional = isinstance(access, TimeOffsets) and set(access.offsets) != access.required
        return not optional and not _has_optional(node.input)

    def finish(self) -> Wiring:
        result = self.result
        result.passed = [end.node for end in result.destinations.values() if end and end.relu]
        for name in result.sums:
            self._put_side_by_side(name)
        for name in self.network.activations:
            self._connect(name)
        result.nnet = Nnet.of_nodes(self.nodes.values(), self.components, result.nnet.path)
        return result

    def _put_side_by_side(self, name: str) -> None:
        self.nodes[name], self.components[name] = terms_side_by_side(self.nnet, name)

    def _connect(self, name: str) -> None:
        """Lets the readers of a node on a grid read it in the form that they take."""
        found = readers(self.nodes, name)
        takers = [node for node in found if node.name in self.result.takers]
        others = [node for node in found if node.name not in self.result.takers]
        if takers and name not in self.integer:
            self.result.on_grid[self._insert(name, "steps", takers)] = name
        if others:
            self.result.from_grid[self._insert(name, "values", others)] = name

    def _insert(self, source: str, kind: str, consumers: list[Node]) -> str:
        """Puts a node between another and some of its readers; returns its name."""
        name = f"{source}.{kind}"
        while name in self.nodes:
            name += "_"
        inserted = ComponentNode(name, name, NodeName(source))
        for node in consumers:
            self.nodes[node.name] = redirected(node, {source: inserted})
        fields = [("Dim", self.nnet.node_dim(source)), ("BackpropScale", np.float32(1.0))]
        self.components[name] = Component("NoOpComponent", fields)
        nodes: dict[str, Node] = {}
        for key, node in self.nodes.items():
            nodes[key] = node
            if key == source:
                nodes[name] = inserted
        self.nodes = nodes
        return name


def _has_optional(descriptor: Descriptor) -> bool:
    """Whether a descriptor holds a part that may be absent."""
    return isinstance(descriptor, IfDefined) or any(_has_optional(part) for part in descriptor.sources())
