"""What quantization decides on: the values of a network, what reads them, and which of them lie on integer grids.

There are no tensors here and nothing of a file format. Nodes are values that are computed; what only chooses, moves or
puts side by side other values (splicing, transposes, slices, concatenation) is no node but part of how a node is read.

A node lies on a grid if a layer with ranges known beforehand reads it, if it is a factor of a product of two values in
integers, or if a sum or a product element by element that lies on one is made of it. Nodes that a layer reads side by
side share their grid, so that one scale serves its whole input, and so do those that a factor is put together from;
inputs of the network do not, where each column of a weight meets one column of them: they have one scale for each
column. What a layer reads at its several uses shares a grid, too. A node whose grid the network itself declares
(``declared_grid``) lies on it in any case.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from kaldi_quant.errors import ModelError
from kaldi_quant.quant.declared_grid import DeclaredGrid

#: input: of the network. product: of a weight and what it reads, a layer. matmul: a product of two values that both
#: depend on the input. relu, add, and mul, which multiplies two values element by element: what integers can do on
#: grids. other: computed in float. output: of the network.
Op = Literal["input", "product", "matmul", "relu", "add", "mul", "other", "output"]


@dataclass(frozen=True)
class Read:
    """What a node takes from another.

    Args:
        node: the other.
        coefficient: that an addition multiplies it by.
        whole: whether it is all that is read, and as it is: not of other times, and not beside others.
    """

    node: str
    coefficient: float = 1.0
    whole: bool = True


@dataclass(frozen=True)
class Node:
    """A value of a network.

    Args:
        name: of the node; of the first use of a layer that of the layer, too.
        op: what computes it.
        reads: what it reads, each as often as it is mentioned; of an addition, one for each term.
        channels: columns of the value.
        is_convolution: of a product whether its weights are used again at several places of a value, so that its
            columns are not those of what it reads.
        layer: of a product that uses a layer once more, that layer.
        by_column: of an input whether layers that are no convolutions meet its columns, the last axis, one by one.
        factors: of a matmul, for each of its two factors the nodes that it is put together from.
        inner: of a matmul how many products each of its results adds up; for inputs of other lengths it may be others.
        declared: what the network itself says of its grid; None where it says nothing.
    """

    name: str
    op: Op
    reads: tuple[Read, ...] = ()
    channels: int = 0
    is_convolution: bool = False
    layer: str = ""
    by_column: bool = True
    factors: tuple[tuple[str, ...], ...] = ()
    inner: int = 0
    declared: DeclaredGrid | None = None

    @property
    def layer_name(self) -> str:
        """The layer of a product."""
        return self.layer or self.name

    @property
    def sources(self) -> list[str]:
        """The nodes that it reads, each once."""
        return list(dict.fromkeys(read.node for read in self.reads))


#: The values of a network by name, in an order in which they can be computed, but for recurrences.
Nodes = Mapping[str, Node]


@dataclass(frozen=True)
class Destination:
    """Where accumulators go: the grid of a node, with or without a ReLU on the way."""

    node: str
    relu: bool


def products(nodes: Nodes) -> list[str]:
    """The layers, in the order of the graph."""
    return list(dict.fromkeys(node.layer_name for node in nodes.values() if node.op == "product"))


def matmuls(nodes: Nodes) -> list[str]:
    """The products of two values, in the order of the graph."""
    return [node.name for node in nodes.values() if node.op == "matmul"]


def uses(nodes: Nodes, layer: str) -> list[Node]:
    """The products of a layer's weight; more than one where it is shared."""
    return [node for node in nodes.values() if node.op == "product" and node.layer_name == layer]


def readers(nodes: Nodes, name: str) -> list[Node]:
    """The nodes that read a node."""
    return [node for node in nodes.values() if any(read.node == name for read in node.reads)]


def is_rectified(nodes: Nodes, layer: str) -> bool:
    """Whether nothing but ReLUs reads a layer's output, so that what is negative in it makes no difference."""
    found = [readers(nodes, use.name) for use in uses(nodes, layer)]
    return all(found) and all(node.op == "relu" and node.reads[0].whole for of_use in found for node in of_use)


def recurrent_nodes(sources: Mapping[str, Collection[str]]) -> set[str]:
    """The nodes that depend on themselves at other times; sources: for each node those that it reads."""
    recurrent = set()
    for name in sources:
        seen: set[str] = set()
        pending = list(sources[name])
        while pending:
            source = pending.pop()
            if source not in seen:
                seen.add(source)
                pending.extend(sources[source])
        if name in seen:
            recurrent.add(name)
    return recurrent


class QuantGraph:
    """The nodes on grids of a network.

    Args:
        nodes: of the network.
        layers: those that multiply integers with ranges known beforehand.
        matmuls: the products of two values that multiply integers.
    """

    def __init__(self, nodes: Nodes, layers: Iterable[str], matmuls: Iterable[str] = ()) -> None:
        self.all_nodes = nodes
        self.layers, self.matmuls = list(layers), list(matmuls)
        #: For each node that layers and matmuls read, these.
        self.readers: dict[str, list[str]] = {}
        for reader in [*self.layers, *self.matmuls]:
            for source in self.inputs_of(reader):
                self.readers.setdefault(source, []).append(reader)
        #: For each sum of integers its terms, for each product of two values element by element its factors.
        self.sums: dict[str, tuple[Read, ...]] = {}
        self.elementwise: dict[str, tuple[Read, ...]] = {}
        #: Every node on a grid, in the order in which they were found.
        declared = [name for name, node in nodes.items() if node.declared is not None]
        self.nodes = list(dict.fromkeys([*self.readers, *declared]))
        for name in self.nodes:  # grows
            operands = self._operands(name)
            if operands:
                (self.sums if nodes[name].op == "add" else self.elementwise)[name] = operands
                self.nodes.extend(dict.fromkeys(read.node for read in operands if read.node not in self.nodes))

    def inputs_of(self, layer: str) -> list[str]:
        """The nodes that a layer or a matmul reads, each once."""
        return list(dict.fromkeys(source for use in self._uses[layer] for source in use.sources))

    def is_per_column(self, name: str) -> bool:
        """Whether a node has a scale for each column: inputs of the network that only fully connected layers read."""
        readers = [self.all_nodes[reader] for reader in self.readers.get(name, [])]
        at_once = any(reader.is_convolution or reader.op == "matmul" for reader in readers)
        node = self.all_nodes[name]
        return node.op == "input" and node.by_column and not at_once

    def groups(self) -> list[list[str]]:
        """The nodes on grids, those together that share one."""
        group = {name: [name] for name in self.nodes}
        together = [self.inputs_of(layer) for layer in self.layers]
        together += [list(factor) for name in self.matmuls for factor in self.all_nodes[name].factors]
        for names in together:
            side_by_side = [name for name in names if not self.is_per_column(name)]
            merged = list(dict.fromkeys(member for name in side_by_side for member in group[name]))
            group.update(dict.fromkeys(merged, merged))
        return list({id(members): members for members in group.values()}.values())

    def declared(self, group: Sequence[str]) -> DeclaredGrid | None:
        """The grid that the network itself gives nodes which share one; None where it is to be found.

        Raises:
            ModelError: it gives some of them another one, or none.
        """
        given = {name: self.all_nodes[name].declared for name in group}
        fixed = {name: found for name, found in given.items() if found is not None and found.is_fixed}
        if not fixed:
            return None
        name, first = next(iter(fixed.items()))
        for other in group:
            if given[other] != first:
                raise ModelError(
                    f"the nodes {name} and {other} are read side by side and need one grid, and the network declares "
                    f"that of {name} alone, or others: call on_grid with the same grid for both"
                )
        return first

    def destination(self, layer: str) -> Destination | None:
        """The node on whose grid the result of a layer or a matmul is rounded.

        None where it is wanted in float, and for layers with several uses.
        """
        if len(self._uses[layer]) > 1:
            return None
        if layer in self.nodes:
            return Destination(layer, relu=False)
        found = self._all_readers.get(layer, [])
        if len(found) != 1:
            return None
        node = found[0]
        if node.op != "relu" or not node.reads[0].whole or node.name not in self.nodes:
            return None
        return Destination(node.name, relu=True)

    @cached_property
    def _uses(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {}
        for node in self.all_nodes.values():
            if node.op in ("product", "matmul"):
                found.setdefault(node.layer_name, []).append(node)
        return found

    @cached_property
    def _all_readers(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {}
        for node in self.all_nodes.values():
            for source in node.sources:
                found.setdefault(source, []).append(node)
        return found

    def _operands(self, name: str) -> tuple[Read, ...]:
        """What a sum or a product of two values reads; nothing where an input of the network is among it."""
        node = self.all_nodes[name]
        if node.op not in ("add", "mul") or any(self.all_nodes[read.node].op == "input" for read in node.reads):
            return ()
        return node.reads
