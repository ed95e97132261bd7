"""The part of a network's graph that its outputs depend on, in an order in which it can be computed.

Nodes that depend on each other through time (recurrence) form one group; everything else is a group of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.component_dims import WITHOUT_INPUT
from kaldi_quant.kaldi.descriptor import Descriptor, Failover, IfDefined, NodeName, Offset, ReplaceIndex, Round
from kaldi_quant.kaldi.nnet import ComponentNode, DimRangeNode, InputNode, Nnet, Node
from kaldi_quant.kaldi.outputs import no_output
from kaldi_quant.nnet3.graph_components import strong_components
from kaldi_quant.nnet3.time_access import SameTime, TimeAccess, TimeOffsets, TimeRange

# Offsets, contexts and moduli beyond this many frames (17 minutes) are taken for corruption.
_LONGEST_REACH = 100_000


@dataclass(frozen=True)
class Group:
    """Nodes that are computed together.

    Args:
        nodes: in an order in which they can be computed at one time.
        recurrent: the group depends on itself at other times.
    """

    nodes: tuple[str, ...]
    recurrent: bool


class Graph:
    """What one output of a network, or several, is computed from.

    Args:
        nnet: the network.
        output: the output node's name.
        accesses: for each component, which input times it reads.
        more_outputs: output nodes that are computed too.

    Raises:
        ModelError: there is no such output, or something on its way cannot be executed.
    """

    def __init__(
        self, nnet: Nnet, output: str, accesses: dict[str, TimeAccess], more_outputs: Sequence[str] = ()
    ) -> None:
        self.outputs = (output, *more_outputs)
        self.nnet = nnet
        self.output = output
        self.names = reachable_nodes(nnet, *self.outputs)
        self._accesses = accesses
        for name in self.names:
            _check_indexes(nnet, name)

    def node(self, name: str) -> Node:
        """The node of that name."""
        return self.nnet.nodes[name]

    def access(self, name: str) -> TimeAccess:
        """Which times of its own input a node reads."""
        node = self.node(name)
        return self._accesses[node.component] if isinstance(node, ComponentNode) else SameTime()

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The input nodes on the way."""
        return tuple(name for name in self.names if isinstance(self.node(name), InputNode))

    @cached_property
    def has_optional_inputs(self) -> bool:
        """Whether any value depends on where the input begins or ends, beyond what is required to compute it."""

        def optional(name: str) -> bool:
            access = self.access(name)
            if isinstance(access, TimeRange):
                return True
            if isinstance(access, TimeOffsets) and set(access.offsets) != access.required:
                return True
            return any(isinstance(descriptor, IfDefined | Failover) for descriptor in _descriptors(self.node(name)))

        return any(optional(name) for name in self.names)

    @cached_property
    def has_alternatives(self) -> bool:
        """Whether outputs may need more than the context: where one of several inputs does, it counts the best."""
        nodes = [(self.access(name), _descriptors(self.node(name))) for name in self.names]
        return any(
            isinstance(access, TimeRange) or any(isinstance(descriptor, Failover) for descriptor in descriptors)
            for access, descriptors in nodes
        )

    @cached_property
    def margin(self) -> int:
        """Frames around the inputs' and outputs' span within which every node's times lie."""
        reach = 1 + sum(_reach(self.node(name), self.access(name)) for name in self.names)
        if reach > _LONGEST_REACH:
            raise ModelError(f"{self.nnet.path}: the time offsets add up to {reach} frames, which is not plausible")
        return reach

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """All nodes but the inputs, in an order in which they can be computed."""
        index = {name: i for i, name in enumerate(self.names)}
        sources = [[index[source] for source in sources_of(self.nnet, name)] for name in self.names]
        labels = strong_components(sources)
        members: dict[int, list[str]] = {}
        for name, label in zip(self.names, labels, strict=True):
            members.setdefault(label, []).append(name)
        before: dict[int, set[int]] = {label: set() for label in members}
        loops = {labels[node] for node, read in enumerate(sources) if node in read}
        for label, read in zip(labels, sources, strict=True):
            before[label].update(labels[source] for source in read if labels[source] != label)
        order = [members[label] for label in TopologicalSorter(before).static_order()]
        groups = []
        for names in order:
            recurrent = len(names) > 1 or labels[index[names[0]]] in loops
            if not isinstance(self.node(names[0]), InputNode):
                groups.append(Group(tuple(self._order_within(names) if recurrent else names), recurrent))
        return tuple(groups)

    def _order_within(self, names: list[str]) -> list[str]:
        """Orders a recurrent group by what its nodes need at the same time."""
        inside = set(names)
        before = {
            name: {leaf for leaf, shift in shifted_leaves(self.nnet, name) if leaf in inside and shift == 0}
            for name in names
        }
        try:
            return list(TopologicalSorter(before).static_order())
        except ValueError as error:
            raise ModelError(f"{self.nnet.path}: the nodes {', '.join(names)} need each other at one time") from error


def reachable_nodes(nnet: Nnet, *outputs: str) -> list[str]:
    """The nodes that some outputs depend on, themselves included, in file order.

    Raises:
        ModelError: there is no such output.
    """
    for name in outputs:
        if name not in nnet.nodes:
            raise ModelError(no_output(nnet, name))
    seen, pending = set(outputs), list(outputs)
    while pending:
        for source in sources_of(nnet, pending.pop()):
            if source not in seen:
                seen.add(source)
                pending.append(source)
    return [name for name in nnet.nodes if name in seen]


def check_inputs(nnet: Nnet, names: Sequence[str]) -> None:
    """Checks that some nodes read what can be given to a network: features, and perhaps an i-vector.

    Raises:
        ModelError: they read other inputs, or no features.
    """
    inputs = [name for name in names if isinstance(nnet.nodes[name], InputNode)]
    if "input" not in inputs or set(inputs) - {"input", "ivector"}:
        found = ", ".join(inputs) or "none"
        raise ModelError(f"{nnet.path}: a network needs the input input, and may have ivector; this one has {found}")


def sources_of(nnet: Nnet, name: str) -> list[str]:
    """The nodes that a node reads."""
    return [leaf for leaf, _ in shifted_leaves(nnet, name)]


def shifted_leaves(nnet: Nnet, name: str) -> list[tuple[str, int | None]]:
    """The nodes that a node reads, with the time shift of each; None where it is not a constant."""
    node = nnet.nodes[name]
    if isinstance(node, DimRangeNode):
        return [(node.input_node, 0)]
    if isinstance(node, InputNode):
        return []
    if isinstance(node, ComponentNode) and nnet.components[node.component].type in WITHOUT_INPUT:
        return []

    def walk(descriptor: Descriptor, shift: int | None) -> list[tuple[str, int | None]]:
        if isinstance(descriptor, NodeName):
            return [(descriptor.node, shift)]
        if isinstance(descriptor, Offset):
            shift = None if shift is None else shift + descriptor.t
        elif isinstance(descriptor, Round | ReplaceIndex):
            shift = None
        return [leaf for source in descriptor.sources() for leaf in walk(source, shift)]

    return walk(node.input, 0)


def _walk(descriptor: Descriptor) -> list[Descriptor]:
    return [descriptor] + [below for source in descriptor.sources() for below in _walk(source)]


def _descriptors(node: Node) -> list[Descriptor]:
    return [] if isinstance(node, InputNode | DimRangeNode) else _walk(node.input)


def _reach(node: Node, access: TimeAccess) -> int:
    """The largest distance in time between a node's output and what it reads."""
    distances = [0]
    for descriptor in _descriptors(node):
        if isinstance(descriptor, Offset):
            distances.append(abs(descriptor.t))
        elif isinstance(descriptor, Round):
            distances.append(descriptor.t_modulus)
        elif isinstance(descriptor, ReplaceIndex):
            distances.append(abs(descriptor.value))
    # Offsets nest, so that their sum is the bound.
    reach = sum(distances)
    if isinstance(access, TimeOffsets):
        reach += max(abs(offset) for offset in access.offsets)
    elif isinstance(access, TimeRange):
        reach += access.left + access.right + access.period + access.step
    return reach


def _check_indexes(nnet: Nnet, name: str) -> None:
    for descriptor in _descriptors(nnet.nodes[name]):
        moves = isinstance(descriptor, Offset) and descriptor.x != 0
        if moves or (isinstance(descriptor, ReplaceIndex) and descriptor.variable == "x"):
            raise ModelError(f"{nnet.path}: the node {name} uses the index x ({descriptor}), which is not executed")
