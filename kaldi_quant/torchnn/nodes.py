"""A region's values as nodes that quantization decides on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from torch import Tensor, fx, nn

from kaldi_quant.quant.graph import Node, Op, Read
from kaldi_quant.torchnn.folding import ChannelOffset
from kaldi_quant.torchnn.followed import FOLLOWED
from kaldi_quant.torchnn.forms import Layer
from kaldi_quant.torchnn.graph_nodes import holds_tensors, inputs_of, is_constant, name_of, shape_of
from kaldi_quant.torchnn.layer_columns import columns_of_inputs
from kaldi_quant.torchnn.moves import is_move, is_rearrangement, sources_of
from kaldi_quant.torchnn.on_grid import declared_by
from kaldi_quant.torchnn.own_modules import float_reasons
from kaldi_quant.torchnn.recurrent_nodes import (
    name_of_memory,
    of_direction,
    recurrent_call,
    recurrent_nodes_of,
    what_is_recurrent,
)
from kaldi_quant.torchnn.region import Region, joined, regions_within
from kaldi_quant.torchnn.simplify import added, is_elementwise_product, is_matmul, is_relu

#: For each column of a layer's weight the node and the channel of it that it meets.
Columns = list[tuple[str, int]]


@dataclass
class Description:
    """What there is to decide on.

    Args:
        nodes: by name, in the order of computation.
        columns: for layers whose columns meet columns of nodes, which.
        float_operations: the nodes that are computed in float between grids, and what they are.
        layers: their names, which no other node has.
    """

    layers: frozenset[str]
    nodes: dict[str, Node] = field(default_factory=dict)
    columns: dict[str, Columns] = field(default_factory=dict)
    float_operations: dict[str, str] = field(default_factory=dict)


def describe(region: Region) -> Description:
    """The nodes of a region and of those within it.

    Args:
        region: of the whole network; its programs are told the names of nodes.
    """
    found = Description(layers=frozenset(region.layers))
    _Describer(region, found, None).run()
    by_column = {name: True for name, node in found.nodes.items() if node.op == "input"}
    for node in found.nodes.values():
        if node.op == "product" and not node.is_convolution and node.layer_name not in found.columns:
            by_column.update(dict.fromkeys(node.sources, False))
    for name, is_met in by_column.items():
        if found.nodes[name].op == "input":
            found.nodes[name] = replace(found.nodes[name], by_column=is_met)
    return found


class _Describer:
    """Describes one region.

    Args:
        region: in question.
        found: takes what is found.
        context: what the module around the region reads; None for the whole network.
    """

    def __init__(self, region: Region, found: Description, context: Iterable[str] | None) -> None:
        self.region, self.found, self.context = region, found, context
        #: For each node of the graph the quantizer's nodes that its value is of, and whether it is one's whole value.
        self.reads: dict[fx.Node, list[Read]] = {}
        #: For nodes of the graph that are the hidden states of a recurrence, which taps those by itself, the names.
        self.hidden: dict[fx.Node, str] = {}
        self.points = region.program.points

    def run(self) -> list[Read]:
        """Adds all nodes; returns what the region's output reads."""
        names = iter(self.region.program.signature.names)
        for node in self.region.graph.nodes:
            if node.op == "output":
                break
            if node.op == "placeholder":
                self._add_input(node, next(names))
            elif holds_tensors(node) and not self._is_no_value(node):
                self._add(node)
        result = _merged(read for source in inputs_of(node) for read in self.reads.get(source, []))
        if self.context is None:
            name = self._unique("output")
            self.found.nodes[name] = Node(name, "output", result)
        self._find_columns()
        return list(result)

    def _is_no_value(self, node: fx.Node) -> bool:
        """Whether a node is a constant that only functions in float read, with the values that they compute with."""
        return is_constant(node) and not any(
            self.region.layer_of(user) or is_relu(user) or is_move(user) or user.target is added for user in node.users
        )

    def _add(self, node: fx.Node) -> None:
        layer = self.region.layer_of(node)
        if isinstance(call := recurrent_call(self.region, node), fx.Node):
            self._add_recurrent(node, call)
        elif layer is not None:
            self._add_layer(node, layer)
        elif is_move(node) and not is_constant(node):
            self.reads[node] = self._moved(node)
        elif is_relu(node):
            self._add_value(node, self._name_of(node), "relu", self._all_reads(node))
        elif node.target is added and (terms := self._terms(node)):
            self._add_value(node, self._name_of(node), "add", terms)
        elif is_elementwise_product(node) and (operands := self._operands(node)):
            self._add_value(node, self._name_of(node), "mul", operands)
        elif is_matmul(node) and all(factors := self._factors(node)):
            self._add_matmul(node, factors)
        else:
            self._add_other(node)

    def _add_input(self, node: fx.Node, name: str) -> None:
        if self.context is None:
            self._add_value(node, name, "input", ())
        else:
            reads = tuple(Read(other) for other in self.context)
            self._add_value(node, joined(self.region.path, name), "other", reads)

    def _add_layer(self, node: fx.Node, layer: Layer) -> None:
        again = layer.name in self.found.nodes
        name = self._unique(layer.name) if again else layer.name
        channels = len(layer.weight) // layer.rows_per_channel
        first = layer.name if again else ""
        self._put(node, Node(name, "product", self._all_reads(node), channels, layer.is_convolution, first))

    def _add_matmul(self, node: fx.Node, factors: tuple[tuple[str, ...], ...]) -> None:
        name, reads = self._unique(self._name_of(node)), self._all_reads(node)
        inner = shape_of(node.args[0])[-1]  # type: ignore[arg-type]
        self._put(
            node, Node(name, "matmul", reads, self._channels(node, "matmul", reads), factors=factors, inner=inner)
        )

    def _operands(self, node: fx.Node) -> tuple[Read, ...]:
        """What a product element by element reads, if each factor is of one node; nothing for others."""
        reads = [self.reads.get(factor, []) for factor in node.args]  # type: ignore[arg-type]
        return tuple(of_factor[0] for of_factor in reads) if all(len(found) == 1 for found in reads) else ()

    def _factors(self, node: fx.Node) -> tuple[tuple[str, ...], ...]:
        """For each factor of a matrix product the nodes that it is put together from."""
        return tuple(
            tuple(dict.fromkeys(read.node for read in self.reads.get(factor, [])))  # type: ignore[arg-type]
            for factor in node.args
        )

    def _add_recurrent(self, node: fx.Node, call: fx.Node) -> None:
        """Adds what a node is of the call of a recurrence: the call itself, or one of its results."""
        path, before = of_direction(self.region, call), self.found.nodes
        if node is call:
            hidden = self._unique(joined(path, "h"))
            wanted = joined(path, "hh")
            product = self._unique(wanted) if wanted in before else wanted
            nodes = recurrent_nodes_of(self.region, call, hidden, product, wanted, self._all_reads(call))
            before.update((found.name, found) for found in nodes)
            self.reads[node] = [Read(hidden)]
            self.found.float_operations[hidden] = what_is_recurrent(self.region, call)
        elif node.args[1] == 0:
            self.reads[node] = self.reads[call]
        else:
            name = joined(path, name_of_memory(self.region, call))
            self._add_value(node, name, "other", before[self.reads[call][0].node].reads)
            self.found.float_operations[self.points[node.name]] = what_is_recurrent(self.region, call)
        if node.name not in self.points and isinstance(node.meta["value"], Tensor):
            self.hidden[node] = self.reads[node][0].node

    def _add_other(self, node: fx.Node) -> None:
        name = self._name_of(node)
        reads = self._all_reads(node)
        if node.op == "call_module":
            reads = _merged([*reads, *self._add_within(node, reads)])
        self._add_value(node, name, "other", reads)
        if (declared := declared_by(node)) is not None:
            found = self.found.nodes[self.points[node.name]]
            self.found.nodes[found.name] = replace(found, declared=declared)
            return
        # One of several results is computed where they are.
        if not is_constant(node) and name_of(node) != "getitem":
            self.found.float_operations[self.points[node.name]] = self._what(node)

    def _add_within(self, node: fx.Node, reads: Iterable[Read]) -> list[Read]:
        """Adds the regions within a module that is called as it is; returns what their outputs read."""
        outputs = []
        for inner in regions_within(self.region.get_submodule(str(node.target))):
            if not inner.program.points:
                outputs += _Describer(inner, self.found, [read.node for read in reads]).run()
        return outputs

    def _what(self, node: fx.Node) -> str:
        """What an operation in float is."""
        if node.op == "call_module":
            module = self.region.get_submodule(str(node.target))
            if isinstance(module, ChannelOffset):
                return "the offset of a BatchNorm"
            reason = self.region.reasons.get(str(node.target).removeprefix("original").removeprefix("."))
            kind = type(module).__name__
            what = f"{kind}, which cannot be traced: {reason}" if reason else kind
            within = [f"{path or kind} stays in float: {why}" for path, why in float_reasons(module).items()]
            return "; ".join([what, *within])
        why = node.meta.get("why")
        name = _function(node)
        return f"{name}: {why}" if why else name

    def _terms(self, node: fx.Node) -> tuple[Read, ...]:
        """What an addition reads, if each term is of one node; nothing for others."""
        found = []
        for term, coefficient in zip(node.args, node.kwargs["coefficients"], strict=True):  # type: ignore[arg-type]
            reads = self.reads.get(term, [])  # type: ignore[arg-type]
            if len(reads) != 1:
                return ()
            found.append(replace(reads[0], coefficient=coefficient))
        return tuple(found)

    def _all_reads(self, node: fx.Node) -> tuple[Read, ...]:
        return _merged(read for source in inputs_of(node) for read in self.reads.get(source, []))

    def _moved(self, node: fx.Node) -> list[Read]:
        reads = _merged(read for source in sources_of(node) for read in self.reads.get(source, []))
        if is_rearrangement(node):
            return list(reads)
        return [replace(read, whole=False) for read in reads]

    def _add_value(self, node: fx.Node, name: str, op: Op, reads: tuple[Read, ...]) -> None:
        self._put(node, Node(self._unique(name), op, reads, self._channels(node, op, reads)))

    def _put(self, node: fx.Node, described: Node) -> None:
        self.points[node.name] = described.name
        self.found.nodes[described.name] = described
        self.reads[node] = [Read(described.name)]

    def _channels(self, node: fx.Node, op: Op, reads: tuple[Read, ...]) -> int:
        value = node.meta["value"]
        if op in ("relu", "add") and reads:
            return self.found.nodes[reads[0].node].channels
        if not isinstance(value, Tensor) or not value.dim():
            return 0
        layers = (self.region.layer_of(user) for user in node.users)
        convolved = any(layer is not None and layer.is_convolution for layer in layers)
        return value.shape[1 if convolved and value.dim() > 2 else -1]

    def _name_of(self, node: fx.Node) -> str:
        """The path of the module that computes a node, with the function's name where the module is the user's."""
        function = _function(node)
        if node.op == "call_module" and not str(node.target).startswith("parts."):
            path = str(node.target).removeprefix("original").removeprefix(".")
            return joined(self.region.path, path) or self.region.kind
        if node.op == "get_attr":
            return joined(self.region.path, function.removeprefix("original."))
        path, kind = node.meta["stack"][-1] if node.meta["stack"] else ("", nn.Module)
        own = path if kind in FOLLOWED else joined(path, function)
        return joined(self.region.path, own)

    def _unique(self, name: str) -> str:
        number, found = 1, name
        while found in self.found.nodes or found in self.found.layers:
            number += 1
            found = f"{name}:{number}"
        return found

    def _find_columns(self) -> None:
        """Finds which columns of nodes the columns of layers meet."""
        starts = {node: self.points[node.name] for node in self.reads if node.name in self.points} | self.hidden
        inputs = {node for node, name in starts.items() if self.found.nodes[name].op == "input"}
        self.found.columns |= columns_of_inputs(self.region, starts, inputs)


def _function(node: fx.Node) -> str:
    return "add" if node.target is added else name_of(node)


def _merged(reads: Iterable[Read]) -> tuple[Read, ...]:
    """Reads of nodes, each once; none is whole beside others."""
    found = dict.fromkeys(reads)
    if len(found) > 1:
        names = dict.fromkeys(read.node for read in found)
        return tuple(Read(name, whole=False) for name in names)
    return tuple(found)
