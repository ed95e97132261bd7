"""A quantized torch network that runs on compiled kernels where there are some, else as the reference does.

It gives the reference's integers (of the functions in recurrent cells see ``backends.kernels.functions``).
"""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, fx

from kaldi_quant.quant.fast_products import fast_model
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import IntegerLinear
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.torchnn.calls import Call
from kaldi_quant.torchnn.computation import computation, constant
from kaldi_quant.torchnn.executable import TorchExecutable
from kaldi_quant.torchnn.execution.convolution import ConvolutionKernel, kernel_of
from kaldi_quant.torchnn.execution.elementwise import added_on_grid, looked_up, multiplied_on_grid, on_one_grid_each
from kaldi_quant.torchnn.execution.linear import LinearKernel
from kaldi_quant.torchnn.execution.norm import GroupNormKernel
from kaldi_quant.torchnn.execution.rectifiers import slope_of
from kaldi_quant.torchnn.execution.recurrence import recurrence_kernel
from kaldi_quant.torchnn.execution.run import Run, tensors_in
from kaldi_quant.torchnn.execution.values import GridValue, common_grid, fits_bytes, floats, integers, on_grid
from kaldi_quant.torchnn.forms.convolution import Convolution
from kaldi_quant.torchnn.forms.layer import Layer
from kaldi_quant.torchnn.forms.linear import Linear
from kaldi_quant.torchnn.forms.transposed_convolution import TransposedConvolution
from kaldi_quant.torchnn.graph_nodes import is_constant, name_of
from kaldi_quant.torchnn.moves import MASKED, MAXIMA, is_move, sources_of
from kaldi_quant.torchnn.rounded_once import group_norm
from kaldi_quant.torchnn.simplify import added, is_relu
from kaldi_quant.torchnn.tracing import same_way

_Values = Mapping[fx.Node, Any]
# For each tensor its size and type, in tuples as the call has them.
_Sizes = tuple[Any, ...]
#: Computes a node from the values that there are.
_Step = Callable[[Run, _Values], Any]

# Moves that torch does not do with bytes, or that put other values beside them.
_IN_FLOAT = MAXIMA | {"pad", "interpolate", "upsample", MASKED}
# Runs on inputs of at most so many values are recorded, once these sizes come a second time; so many are kept.
_SMALL, _KEPT_RUNS = 1 << 14, 8


class _Recorded(NamedTuple):
    """A run that is kept, with the tensors of its input and its result."""

    run: Run
    inputs: list[Tensor]
    result: Any


class CompiledNetwork:
    """A quantized torch network on this machine's kernels, on one thread.

    Args:
        network: its host is one of torch.

    Attributes:
        on_kernels: the layers that run on compiled kernels; the others run as in the reference.
    """

    def __init__(self, network: QuantizedNetwork) -> None:
        executable = fast_model(network, torch.device("cpu"))
        assert isinstance(executable, TorchExecutable)
        self._network, self._executable, self._region = network, executable, executable.region
        self._points = self._region.program.points
        self._arithmetic = network.arithmetic()
        self.on_kernels: list[str] = []
        #: Nodes whose value a layer before them has put on their grid already.
        self._fused: set[str] = set()
        #: Rectifiers that a layer before them has computed already.
        self._rectified: set[fx.Node] = set()
        self._tables: dict[fx.Node, Tensor] = {}
        needed = _needed(self._region.program.steps)
        self._steps = [(node, self._step(node), done) for node, done in _forgotten(needed).items()]
        #: By the sizes of inputs; None for those that came once.
        self._recorded: OrderedDict[_Sizes | None, _Recorded | None] = OrderedDict()

    @torch.inference_mode()
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As the network that was quantized: same arguments, same results.

        Raises:
            DataError: the call is another kind than the example that the network was quantized with.
        """
        sizes = _sizes(args) if not kwargs else None
        recorded = self._recorded.get(sizes)
        if recorded is not None:
            for tensor, new in zip(recorded.inputs, tensors_in(args), strict=True):
                tensor.copy_(new)
            recorded.run.again()
            return _copied(recorded.result)
        given = self._region.program.signature.tensors_of(Call(args, kwargs))
        if sizes is None or sum(tensor.numel() for tensor in given) > _SMALL:
            return self._ran(Run(is_recorded=False), given)
        if sizes not in self._recorded:
            self._recorded[sizes] = None
            if len(self._recorded) > _KEPT_RUNS:
                self._recorded.popitem(last=False)
            return self._ran(Run(is_recorded=False), given)
        run, inputs = Run(is_recorded=True), [tensor.clone() for tensor in given]
        recorded = self._recorded[sizes] = _Recorded(run, inputs, self._ran(run, inputs))
        return _copied(recorded.result)

    def _ran(self, run: Run, inputs: Sequence[Tensor]) -> Any:
        """What the network gives."""
        program = self._region.program
        values: dict[fx.Node, Any] = {}
        for node, value in zip(self._region.graph.find_nodes(op="placeholder"), inputs, strict=True):
            values[node] = self._on_grid(run, self._points.get(node.name, ""), value)
        for node, step, done in self._steps:
            values[node] = step(run, values)
            for other in done:
                del values[other]
        return floats(run, program.result(values))

    def _step(self, node: fx.Node) -> _Step:
        """How a node is computed."""
        point = self._points.get(node.name, "")
        layer, recurrence = self._region.layer_of(node), self._region.recurrence_of(node)
        source: Any = node.args[0] if node.args else None
        if layer is not None and (kernel := self._layer(node, layer)):
            return lambda run, values: self._on_grid(run, point, kernel(run, values[source]))
        if recurrence is not None and (step := self._recurrence(node)):
            return step
        if node in self._rectified:
            return lambda run, values: self._on_grid(run, point, values[source])
        if node.target is group_norm and (step := self._norm(node, point)):
            return step
        if step := self._elementwise(node, point):
            return step
        if is_relu(node) and point in self._fused:
            return lambda run, values: values[source]
        if node.target is operator.getitem and isinstance(source.meta.get("value"), tuple):
            place: Any = node.args[1]
            return lambda run, values: values[source][place]
        if is_move(node) and name_of(node) not in _IN_FLOAT:
            return partial(self._moved, node)
        return partial(self._in_float, node, point)

    def _layer(self, node: fx.Node, layer: Layer) -> LinearKernel | ConvolutionKernel | None:
        found = self._network.layers.get(layer.name)
        if not isinstance(found, IntegerLinear):
            return None
        destination = self._network.graph.destination(layer.name)
        if destination is not None and destination.node not in self._network.activations:
            destination = None
        grid = self._network.activations[destination.node] if destination else None
        relu = destination is not None and destination.relu
        kernel: LinearKernel | ConvolutionKernel | None = None
        if isinstance(layer, Linear):
            kernel = LinearKernel.of(found, grid, relu)
        elif isinstance(layer, Convolution | TransposedConvolution):
            behind, slope = self._rectifier_behind(node, layer) if destination is None else (node, None)
            takes_moments = self._reads_alone(behind, group_norm) is not None and isinstance(layer, Convolution)
            kernel = ConvolutionKernel.of(layer, found, grid, relu, slope, takes_moments and destination is None)
            if kernel is not None and behind is not node:
                self._rectified.add(behind)
        if kernel is not None:
            self.on_kernels.append(layer.name)
            self._fused |= {destination.node} if destination else set()
        return kernel

    def _reads_alone(self, node: fx.Node, function: Any) -> fx.Node | None:
        """What reads a value in float, if that is one function and nothing else."""
        if len(node.users) != 1 or self._points.get(node.name, "") in self._network.activations:
            return None
        (reader,) = node.users
        return reader if reader.target is function else None

    def _rectifier_behind(
        self, node: fx.Node, layer: Convolution | TransposedConvolution
    ) -> tuple[fx.Node, np.ndarray | None]:
        """The PReLU that reads a layer's result and nothing else does, with its slopes; else the layer itself."""
        reader = next(iter(node.users), None)
        slope = None if reader is None else slope_of(reader, self._region)
        is_batched = node.meta["value"].dim() == 2 + len(kernel_of(layer))
        if (
            reader is None
            or slope is None
            or self._reads_alone(node, reader.target) is None
            or (slope.size > 1 and not is_batched)
        ):
            return node, None
        return reader, slope

    def _norm(self, node: fx.Node, point: str) -> _Step | None:
        """A group norm; None where it multiplies by what depends on the input."""
        source, groups, *learned, epsilon = node.args
        given: list[Any] = learned
        if any(value is not None and not is_constant(value) for value in given):
            return None
        weight, bias = (None if value is None else constant(value, self._region) for value in given)
        grid = self._network.activations.get(point)
        read: Any = source
        channels: int = read.meta["value"].shape[1]
        kernel = GroupNormKernel.of(channels, groups, weight, bias, epsilon, grid)  # type: ignore[arg-type]
        return lambda run, values: self._on_grid(run, point, kernel(run, values[read]))

    def _elementwise(self, node: fx.Node, point: str) -> _Step | None:
        """A sum or product of two values on grids, or a PReLU of one; None for others."""
        graph, grid = self._network.graph, self._network.activations.get(point)
        if grid is not None and (not fits_bytes(grid) or grid.scale.dim()):
            return None
        operands: Any = node.args
        otherwise = partial(self._in_float, node, point)
        compute: Callable[[Run, list[Any]], Any]
        slope = slope_of(node, self._region)
        if slope is not None and slope.size == 1:
            operands = operands[:1]

            def compute(run: Run, given: list[Any]) -> Any:
                return looked_up(run, given[0], self._table(node, given[0].grid, grid), grid)
        elif grid is None or len(operands) != 2:
            return None
        elif node.target is added and point in graph.sums:
            compute = partial(added_on_grid, coefficients=node.kwargs["coefficients"], output=grid)  # type: ignore[arg-type]
        elif node.target is torch.mul and point in graph.elementwise:
            compute = partial(multiplied_on_grid, output=grid)
        else:
            return None

        def step(run: Run, values: _Values) -> Any:
            given = [values[operand] for operand in operands]
            return compute(run, given) if on_one_grid_each(given) else otherwise(run, values)

        return step

    def _table(self, node: fx.Node, given: Grid, output: Grid | None) -> Tensor:
        """What a function gives for each byte on a grid."""
        if node not in self._tables:
            values = given.dequantize(torch.arange(1 << 8, dtype=torch.int32))
            known = {other: constant(other, self._region) for other in node.all_input_nodes[1:]}
            found = computation(node, self._region, {node.all_input_nodes[0]: values, **known}.__getitem__)()
            self._tables[node] = found if output is None else output.quantize(found).to(torch.uint8)
        return self._tables[node]

    def _recurrence(self, node: fx.Node) -> _Step | None:
        recurrence, point = self._region.recurrence_of(node), str(node.kwargs["node"])
        assert recurrence is not None
        name = recurrence.layer.name
        kernel = recurrence_kernel(recurrence, self._network.layers.get(name), self._network.activations.get(point))
        if kernel is None:
            return None
        self.on_kernels.append(name)
        of_input: Any = node.args[0]
        states: Any = node.args[1:]

        def step(run: Run, values: _Values) -> Any:
            first = [None if state is None else values[state] for state in states]
            memory = floats(run, first[1]) if len(first) > 1 else None
            return kernel(run, floats(run, values[of_input]), first[0] if first else None, memory)

        return step

    def _moved(self, node: fx.Node, run: Run, values: _Values) -> Any:
        """Values moved: bytes where they lie on one grid."""
        grid = common_grid(value for source in sources_of(node) for value in _flat(values[source]))
        if grid is None:
            return self._in_float(node, self._points.get(node.name, ""), run, values)
        given = {source: integers(run, values[source]) for source in node.all_input_nodes}
        moved = run.computed(computation(node, self._region, given.__getitem__), list(given.values()))
        return on_grid(grid, moved)

    def _in_float(self, node: fx.Node, point: str, run: Run, values: _Values) -> Any:
        """As the reference computes it."""
        given = {source: floats(run, values[source]) for source in node.all_input_nodes}
        if point in self._arithmetic:
            operands: Any = node.args
            compute: Callable[[], Any] = partial(self._arithmetic[point], [given[operand] for operand in operands])
        else:
            compute = computation(node, self._region, given.__getitem__)
        tap = self._executable.taps.get(point)
        return run.computed(compute if tap is None else lambda: tap(compute()), list(given.values()))

    def _on_grid(self, run: Run, point: str, value: Any) -> Any:
        """A value on the grid of its node, if it has one."""
        if point not in self._network.activations or isinstance(value, GridValue):
            return value
        grid = self._network.activations[point]
        return GridValue(grid, floats=value) if fits_bytes(grid) else run.computed(partial(grid.fake, value), value)


def _needed(steps: Sequence[fx.Node]) -> list[fx.Node]:
    """The steps without functions whose result nothing reads, but for those that refuse inputs."""
    needed: dict[fx.Node, None] = {}
    for node in reversed(steps):
        is_read = any(user in needed or user.op == "output" for user in node.users)
        if is_read or node.target is same_way or node.op == "call_module":
            needed[node] = None
    return list(reversed(needed))


def _forgotten(steps: Sequence[fx.Node]) -> dict[fx.Node, list[fx.Node]]:
    """For each step the values that no later one reads."""
    found: dict[fx.Node, list[fx.Node]] = {node: [] for node in steps}
    seen = set()
    for node in reversed(steps):
        for source in [node, *node.all_input_nodes]:
            if source not in seen and not any(user.op == "output" for user in source.users):
                found[node].append(source)
            seen.add(source)
    return found


def _sizes(values: Sequence[Any]) -> _Sizes | None:
    """Sizes and types of tensors, also within tuples; None where there is anything else."""
    found: list[Any] = []
    for value in values:
        is_tensor = isinstance(value, Tensor)
        within = (value.shape, value.dtype) if is_tensor else _sizes(value) if isinstance(value, tuple | list) else None
        if within is None:
            return None
        found.append(within)
    return tuple(found)


def _flat(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple | list) else [value]


def _copied(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(_copied(one) for one in value)
    return value.clone() if isinstance(value, Tensor) else value
