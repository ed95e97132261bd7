"""What layers are for in a network, as far as its graph tells: names for groups of layers in configurations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from kaldi_quant.quant.graph import Node, Nodes, matmuls, products, readers, recurrent_nodes, uses
from kaldi_quant.registry import Registry


@dataclass(frozen=True)
class _Layer:
    """A layer in a graph.

    Args:
        name: of its node.
        nodes: the whole graph.
        recurrent: the nodes that depend on themselves at other times.
        read_by_outputs: the nodes that outputs read.
    """

    name: str
    nodes: Nodes
    recurrent: set[str]
    read_by_outputs: set[str]

    @cached_property
    def uses(self) -> list[Node]:
        return uses(self.nodes, self.name)

    @cached_property
    def names(self) -> set[str]:
        return {use.name for use in self.uses}

    @cached_property
    def readers(self) -> list[Node]:
        return [reader for use in self.uses for reader in readers(self.nodes, use.name)]

    @cached_property
    def sources(self) -> list[Node]:
        return [self.nodes[source] for use in self.uses for source in use.sources]


Rule = Callable[[_Layer, set[str]], bool]
#: What a pattern may ask for, written with an @ before it: whether a layer is of a kind, knowing those before it.
KINDS: Registry[Rule] = Registry("kind of layers")


@KINDS.add("input")
def _reads_an_input(layer: _Layer, _: set[str]) -> bool:
    return any(source.op == "input" for source in layer.sources)


@KINDS.add("output")
def _is_read_by_an_output(layer: _Layer, _: set[str]) -> bool:
    return bool(layer.names & layer.read_by_outputs)


@KINDS.add("convolution")
def _uses_weights_at_several_places(layer: _Layer, _: set[str]) -> bool:
    return layer.nodes[layer.name].is_convolution


@KINDS.add("recurrent")
def _depends_on_itself(layer: _Layer, _: set[str]) -> bool:
    return bool(layer.names & layer.recurrent)


@KINDS.add("bottleneck")
def _is_narrow(layer: _Layer, kinds: set[str]) -> bool:
    widest = max((source.channels for source in layer.sources), default=0)
    return not kinds and 2 * layer.nodes[layer.name].channels < widest


@KINDS.add("hidden")
def _is_nothing_else(_: _Layer, kinds: set[str]) -> bool:
    return not kinds


@KINDS.add("cell")
def _is_a_product_of_a_recurrent_cell(layer: _Layer, kinds: set[str]) -> bool:
    added = [reader for reader in layer.readers if reader.op not in ("product", "matmul")]
    return "recurrent" in kinds or any(reader.name in layer.recurrent for reader in added)


@KINDS.add("matmul")
def _has_no_weights(layer: _Layer, _: set[str]) -> bool:
    return layer.nodes[layer.name].op == "matmul"


def layer_kinds(nodes: Nodes) -> dict[str, set[str]]:
    """The kinds of each layer of a prepared network, and of each product of two values.

    ``input``: reads an input of the network. ``output``: is read by an output. ``convolution``: its weights are used
    again at several places. ``recurrent``: depends on its own output at other times. ``bottleneck``: none of these,
    with less than half as many channels as a node that it reads. ``hidden``: the other layers. ``cell``, beside these:
    ``recurrent``, or a state that depends on itself is computed of its result, as of the input product of an LSTM.
    ``matmul``: no layer, but a product of two values that both depend on the input; it has no weights.
    """
    recurrent = recurrent_nodes({name: node.sources for name, node in nodes.items()})
    read_by_outputs = {name for node in nodes.values() if node.op == "output" for name in node.sources}
    found: dict[str, set[str]] = {}
    for name in products(nodes):
        layer, kinds = _Layer(name, nodes, recurrent, read_by_outputs), set[str]()
        for kind in KINDS:
            if KINDS[kind](layer, kinds):
                kinds.add(kind)
        found[name] = kinds
    return {**found, **{name: {"matmul"} for name in matmuls(nodes)}}
