"""Walks the traced graph of a quantized network and writes it as ONNX."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, fx

from kaldi_quant.backends.onnx.parameters import WeightForm
from kaldi_quant.backends.onnx.stored_weights import writer_for
from kaldi_quant.backends.onnx.writer import BOOL, Dim, GraphWriter, Name
from kaldi_quant.errors import ModelError
from kaldi_quant.quant.grid import Grid, same_grid
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.integer_matmul import IntegerMatmul
from kaldi_quant.quant.integer_sum import term_scale
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.torchnn.calls import Call
from kaldi_quant.torchnn.executable import TorchExecutable
from kaldi_quant.torchnn.graph_nodes import name_of
from kaldi_quant.torchnn.moves import is_move, sources_of
from kaldi_quant.torchnn.on_grid import on_grid
from kaldi_quant.torchnn.onnx.axes import Axes, FreeAxisError, KnownSizes, calls_of_other_sizes
from kaldi_quant.torchnn.onnx.dynamic import DynamicWriter
from kaldi_quant.torchnn.onnx.elementwise import multiplied
from kaldi_quant.torchnn.onnx.flattening import flattened
from kaldi_quant.torchnn.onnx.layers import LayerWriter, Output
from kaldi_quant.torchnn.onnx.matmuls import MatmulWriter
from kaldi_quant.torchnn.onnx.operation import Operation
from kaldi_quant.torchnn.onnx.operations import EMITTERS
from kaldi_quant.torchnn.onnx.recurrence import RecurrenceWriter
from kaldi_quant.torchnn.onnx.recurrent_operator import RecurrentOperator, takes_in
from kaldi_quant.torchnn.onnx.sizes import ARITHMETIC, Number, Sizes
from kaldi_quant.torchnn.onnx.values import Grids, Value, array_of, flat, is_wide, zero_of
from kaldi_quant.torchnn.simplify import added, is_relu
from kaldi_quant.torchnn.tracing import same_way

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class TorchOnnx:
    """A torch network as an ONNX graph.

    Args:
        model: the graph.
        inputs: the shape of each input; a str is an axis of any length.
        outputs: likewise.
        integers: for nodes on grids the names of their integers in the graph, one for each time that they are computed.
    """

    model: onnx.ModelProto
    inputs: dict[Name, tuple[Dim, ...]]
    outputs: dict[Name, tuple[Dim, ...]]
    integers: dict[str, list[Name]]


def build_graph(network: QuantizedNetwork, call: Call, free: Axes, form: WeightForm = "signed") -> TorchOnnx:
    """Writes a quantized torch network as ONNX.

    Args:
        network: its host is a ``TorchHost``.
        call: an example.
        free: axes of inputs that may have any length.
        form: how weights are stored.

    Raises:
        ModelError: a part of it has no such form; says which.
        FreeAxisError: a part of it has none with axes of any length.
        MissingDependencyError: onnx is not installed.
    """
    return _Builder(network, call, free, form).build()


@dataclass
class _Builder:
    network: QuantizedNetwork
    call: Call
    free: Axes
    form: WeightForm
    writer: GraphWriter = field(init=False)
    #: For each node a Value, a number, or several of these.
    values: dict[fx.Node, Any] = field(default_factory=dict)
    integers: dict[str, list[Name]] = field(default_factory=dict)
    #: Nodes whose value depends on the input.
    computed: set[fx.Node] = field(default_factory=set)
    #: Types of inputs that are not of floats.
    kinds: dict[Name, int] = field(default_factory=dict)
    #: The quantizer's nodes that layers and matmuls put on their grids.
    fused: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.writer = writer_for(self.network.layers.values())
        executable = self.network.dequantized().executable()
        assert isinstance(executable, TorchExecutable)
        self.region = executable.region
        # Only modules that decide by sizes are asked whether they decide alike.
        others = calls_of_other_sizes(executable, self.call, self.free if self.region.reasons else frozenset())
        self.graph, self.points = flattened(self.region, [each.tensors for each in (self.call, *others)])
        self.known = KnownSizes(self.graph, self.region, executable, self.call, self.free)
        for node in self.graph.nodes:
            if node in self.known.values:
                node.meta["value"] = self.known.values[node]
        self.grids = Grids(self.writer)
        self.sizes = Sizes(self.writer)

    def build(self) -> TorchOnnx:
        inputs = self._inputs()
        wanted: list[fx.Node] = []
        output = next(iter(self.graph.find_nodes(op="output")))
        fx.node.map_arg(output.args, wanted.append)
        names = ["output"] if len(wanted) == 1 else [f"output.{place}" for place in range(len(wanted))]
        for name in names:
            self.writer.reserve(name)
        for node in self.graph.nodes:
            if node.op not in ("placeholder", "output"):
                self._node(node)
        outputs = {}
        for name, node in zip(names, wanted, strict=True):
            value = self.values[node]
            if not isinstance(value, Value):
                raise ModelError(f"the output {node.name} is not a tensor")
            outputs[name] = (self.grids.floats(value), self._shape(name, self.known.shape(node)))
        model = self.writer.finish("network", inputs, outputs, {}, self.kinds)
        return TorchOnnx(model, inputs, {name: shape for name, (_, shape) in outputs.items()}, self.integers)

    def _inputs(self) -> dict[Name, tuple[Dim, ...]]:
        nodes = self.graph.find_nodes(op="placeholder")
        names = self.region.program.signature.names
        shapes = {}
        for number, (node, name) in enumerate(zip(nodes, names, strict=True)):
            kind = self.known.values[node].dtype
            if kind == torch.bool:
                self.kinds[name] = BOOL
            elif not kind.is_floating_point:
                raise ModelError(f"the input {name} is neither of floats nor of booleans, which have an ONNX form here")
            self.writer.reserve(name)
            sizes = self.known.values[node].shape
            shape = tuple(None if (number, axis) in self.free else size for axis, size in enumerate(sizes))
            # The batch is what is as long as the first axis of the first input.
            first = "batch" if sizes[:1] == self.call.tensors[0].shape[:1] else f"{name}.0"
            shapes[name] = self._shape(name, shape, first)
            self.computed.add(node)
            self.values[node] = self._on_its_grid(node, Value(name))
        return shapes

    @staticmethod
    def _shape(name: Name, shape: tuple[int | None, ...], first: str = "batch") -> tuple[Dim, ...]:
        return tuple(
            size if size is not None else f"{name}.{axis}" if axis else first for axis, size in enumerate(shape)
        )

    def _node(self, node: fx.Node) -> None:
        value = self.known.values[node]
        if any(other in self.computed for other in node.all_input_nodes) and not self._is_known(node, value):
            self.computed.add(node)
            self.values[node] = self._on_its_grid(node, self._computed(node))
        elif isinstance(value, Tensor):
            self.values[node] = self._on_its_grid(node, Value(self.writer.constant(array_of(value), node.name)))
        else:
            self.values[node] = value

    def _is_known(self, node: fx.Node, value: Any) -> bool:
        return not _holds_tensors(value) and self.known.is_settled(node)

    def _computed(self, node: fx.Node) -> Any:
        layer = self.region.layer_of(node)
        if layer is not None:
            return self._layer(node)
        if self.region.recurrence_of(node) is not None:
            return self._recurrence(node)
        if node.target is same_way:
            return None
        if not _holds_tensors(self.known.values[node]):
            return self._size(node)
        if name_of(node) == "getitem" and isinstance(self.values.get(node.args[0]), tuple):  # type: ignore[arg-type]
            return self.values[node.args[0]][node.args[1]]  # type: ignore[index]
        point = self.points.get(node, "")
        if node.target is on_grid and point in self.network.activations:
            # What follows puts it there.
            return Value(self.grids.floats(self.values[node.args[0]]))  # type: ignore[index]
        if is_relu(node) and point in self.fused:
            return self.values[node.args[0]]  # type: ignore[index]
        if node.target is added:
            return self._sum(node, point)
        if point in self.network.graph.matmuls:
            return self._matmul(node, point)
        if point in self.network.graph.elementwise and point in self.network.activations:
            return multiplied(self.writer, [self.values[each] for each in node.args], self._grid(point), point)  # type: ignore[index]
        return self._operation(node, point)

    def _layer(self, node: fx.Node) -> Value:
        layer = self.region.layer_of(node)
        assert layer is not None
        source: fx.Node = node.args[0]  # type: ignore[assignment]
        x, shape = self.values[source], self.known.shape(source)
        integers = self.network.layers.get(layer.name)
        writer = LayerWriter(self.writer, self.form)
        if takes_in(self.region, self.network, node):
            return x
        if integers is None:
            return Value(writer.in_float(layer, self.grids.floats(x), shape))
        if isinstance(integers, DynamicLinear):
            return DynamicWriter(self.writer, layer.name, integers).write(layer, self.grids.floats(x), shape, writer)
        if not isinstance(integers, IntegerLinear):
            return Value(writer.stored(layer, integers, self.grids.floats(x), shape))
        return writer.integer(layer, integers, x, shape, self._output(node, layer.name))

    def _matmul(self, node: fx.Node, point: str) -> Value:
        """A product of two values in integers."""
        grids = (self._grid(names[0]) for names in self.network.graph.all_nodes[point].factors)
        factors: Any = node.args
        one, other = (self.values[factor] for factor in factors)
        writer, shape = MatmulWriter(self.writer, IntegerMatmul(point, *grids)), self.known.shape(factors[1])
        return writer.write(one, other, shape, self._output(node, point))

    def _output(self, node: fx.Node, name: str) -> Output:
        """Where the accumulators of a layer or a matmul go."""
        destination = self.network.graph.destination(name)
        if destination is None or destination.node not in self.network.activations:
            return Output(self.points[node], last=all(user.op == "output" for user in node.users))
        self.fused.add(destination.node)
        return Output(destination.node, self._grid(destination.node), destination.relu)

    def _recurrence(self, node: fx.Node) -> Any:
        """The hidden states of a recurrence, and what is remembered beside them where cells do."""
        recurrence, point = self.region.recurrence_of(node), str(node.kwargs["node"])
        assert recurrence is not None
        grid = self._grid(point) if point in self.network.activations else None
        integers = self.network.layers.get(recurrence.layer.name)
        source: Any = node.args[0]
        states: Any = node.args[1:]
        first = ["" if state is None else self.grids.floats(self.values[state]) for state in states]
        floats, layer = self.grids.floats(self.values[source]), self.region.layer_of(source)
        if layer is not None and takes_in(self.region, self.network, source):
            found = RecurrentOperator(self.writer, recurrence, layer, point).write(floats, *first)
        else:
            writer = RecurrenceWriter(self.writer, self.form, recurrence, integers, grid, point)
            found = writer.write(floats, self.known.shape(source), *first)
        if grid is not None:
            self.integers.setdefault(point, []).append(found[0].integers)
        return found if recurrence.remembers else found[0]

    def _grid(self, point: str) -> Grid:
        grid = self.network.activations[point]
        if grid.spec.signed:
            raise ModelError(f"the node {point} lies on a grid that is not of unsigned integers")
        return grid

    def _on_its_grid(self, node: fx.Node, value: Any) -> Any:
        """A value on the grid of its node, if it has one."""
        point = self.points.get(node, "")
        if point not in self.network.activations:
            return value
        graph = self.network.graph
        if point not in self.fused and point not in graph.sums and point not in graph.elementwise:
            value = self.grids.on(self.grids.floats(value), self._grid(point), point)
        if value.integers:
            self.integers.setdefault(point, []).append(value.integers)
        return value

    def _sum(self, node: fx.Node, point: str) -> Value:
        """A sum, on its grid if it lies on one."""
        coefficients: Any = node.kwargs["coefficients"]
        terms = [self.values[term] for term in node.args]  # type: ignore[index]
        if point not in self.network.activations or point not in self.network.graph.sums:
            return Value(self._float_sum(terms, coefficients))
        grid, floats = self._grid(point), []
        for term, coefficient in zip(terms, coefficients, strict=True):
            if is_wide(grid) or not term.integers or is_wide(term.grid):
                raise ModelError(f"the sum {point} is not one of unsigned integers of at most 8 bits")
            constants = [term_scale(term.grid, coefficient).numpy(), zero_of(term.grid)]
            names = [term.integers, *(self.writer.constant(each) for each in constants)]
            floats.append(self.writer.op("DequantizeLinear", names))
        total = floats[0]
        for other in floats[1:]:
            total = self.writer.op("Add", [total, other])
        return self.grids.on(total, grid, point)

    def _float_sum(self, terms: list[Value], coefficients: list[float]) -> Name:
        total = ""
        for term, coefficient in zip(terms, coefficients, strict=True):
            name = self.grids.floats(term)
            if coefficient != 1:
                name = self.writer.op("Mul", [name, self.writer.constant(np.float32(coefficient))])
            total = self.writer.op("Add", [total, name]) if total else name
        return total

    def _operation(self, node: fx.Node, point: str) -> Any:
        name = name_of(node)
        if node.op == "call_module":
            name = type(self.region.get_submodule(str(node.target))).__name__
        if name not in EMITTERS:
            raise ModelError(f"the node {point or node.name} is of the operation {name}, which has no ONNX form")
        grid = self._common_grid(node)
        take = (lambda value: value.integers) if grid else self.grids.floats
        args, kwargs = (fx.node.map_arg(part, self.values.__getitem__) for part in (node.args, node.kwargs))
        zero = zero_of(grid) if grid else np.float32(0)
        module = self.region.get_submodule(str(node.target)) if node.op == "call_module" else None
        operation = Operation(node, self.writer, self.known, args, kwargs, take, zero, point, module)  # type: ignore[arg-type]
        result = EMITTERS[name](operation)

        def value(found: Name) -> Value:
            return Value(integers=found, grid=grid) if grid else Value(found)

        return tuple(map(value, result)) if isinstance(result, tuple) else value(result)

    def _common_grid(self, node: fx.Node) -> Grid | None:
        """The grid of all that a move reads, so that it moves integers."""
        if not is_move(node):
            return None
        sources = [value for source in sources_of(node) for value in flat(self.values[source])]
        grids = [value.grid for value in sources if value.integers and value.grid]
        if not grids or len(grids) < len(sources):
            return None
        return grids[0] if all(same_grid(grids[0], grid) for grid in grids) else None

    def _size(self, node: fx.Node) -> Any:
        """A number or several that depend on the lengths of inputs."""
        name = name_of(node)
        args: Any = fx.node.map_arg(node.args, self.values.__getitem__)
        if name in ("shape", "size"):
            source: fx.Node = node.args[0]  # type: ignore[assignment]
            found = self._sizes_of(source)
            return found if name == "shape" or len(node.args) == 1 else found[args[1]]
        if name == "getitem":
            return args[0][args[1]]
        if name in ("int", "index", "float", "Size", "tuple", "list"):
            return args[0]
        if name == "neg":
            return self.sizes.subtract(0, args[0])
        if name in ARITHMETIC and len(args) == 2 and all(isinstance(each, Number) for each in args):
            return ARITHMETIC[name](self.sizes, *args)
        if name == "numel":
            return self.sizes.product(self._sizes_of(node.args[0]))
        raise FreeAxisError(f"the number {node.name} ({name}) has no ONNX form where lengths are free")

    def _sizes_of(self, source: Any) -> list[Any]:
        value = self.values[source]
        return self.sizes.of(value.integers or self.grids.floats(value), self.known.shape(source))


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, list | tuple) and any(map(_holds_tensors, value)))
