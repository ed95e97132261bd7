"""Names and axes of a file's inputs and outputs, as who asks for the file wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from kaldi_quant.backends.onnx.reading import all_nodes
from kaldi_quant.backends.onnx.writer import Dim, Name
from kaldi_quant.errors import ModelError, UsageError
from kaldi_quant.torchnn.calls import Call, tensors_in
from kaldi_quant.torchnn.onnx.axes import Axes, calls_of_other_sizes
from kaldi_quant.torchnn.onnx.builder import TorchOnnx


@dataclass(frozen=True)
class Ends:
    """What inputs and outputs are called.

    Args:
        inputs: all of them by name, in the order of the network's arguments, with the size of each axis; a str is the
            name of an axis of any length.
        outputs: names; None for the usual ones.
    """

    inputs: Mapping[Name, Sequence[Dim]]
    outputs: Sequence[Name] | None = None

    def check(self, call: Call) -> None:
        """Refuses names for another call.

        Raises:
            UsageError: they are.
        """
        ranks, wanted = [x.dim() for x in call.tensors], [len(sizes) for sizes in self.inputs.values()]
        if ranks != wanted:
            raise UsageError(f"the network's inputs have {ranks} axes, and names and sizes are given for {wanted}")
        sizes = [size for each in self.inputs.values() for size in each]
        if any((isinstance(size, int) and size < 1) or size == "" for size in sizes):
            raise UsageError(f"expected sizes of at least 1 and names of axes, found {sizes}")

    @property
    def named(self) -> dict[str, Axes]:
        """The axes of any length, by name."""
        found: dict[str, set[tuple[int, int]]] = {}
        for number, sizes in enumerate(self.inputs.values()):
            for axis, size in enumerate(sizes):
                if isinstance(size, str):
                    found.setdefault(size, set()).add((number, axis))
        return {name: frozenset(axes) for name, axes in found.items()}

    def free(self, known: Axes) -> Axes:
        """The axes of any length.

        Args:
            known: those that the network bears.

        Raises:
            ModelError: others are wanted, too.
        """
        for name, axes in self.named.items():
            for number, axis in sorted(axes - known):
                where = f"axis {axis} of {list(self.inputs)[number]!r}"
                raise ModelError(f"{name!r}, the {where}, cannot have any length: the network bears one alone")
        return frozenset().union(*self.named.values())

    def call(self, example: Call) -> Call:
        """An example of the sizes that are wanted, values repeated or left out."""
        self.check(example)
        return example.with_tensors(
            [_sized(x, sizes) for x, sizes in zip(example.tensors, self.inputs.values(), strict=True)]
        )

    def put_on(self, graph: TorchOnnx, network: nn.Module, call: Call) -> TorchOnnx:
        """The graph with these names.

        Args:
            graph: whose free axes are those of ``free``.
            network: to be called.
            call: the example of the graph.

        Raises:
            UsageError: there are not as many names as outputs, or the same name twice.
        """
        outputs = list(self.outputs or graph.outputs)
        if len(outputs) != len(graph.outputs) or len({*self.inputs, *outputs}) < len(self.inputs) + len(outputs):
            raise UsageError(
                f"expected {len(graph.inputs)} names of inputs and {len(graph.outputs)} of outputs, each another; "
                f"found {', '.join([*self.inputs, *outputs])}"
            )
        shapes = self._output_shapes(dict(zip(outputs, graph.outputs.values(), strict=True)), network, call)
        wanted = dict(zip([*graph.inputs, *graph.outputs], [*self.inputs, *outputs], strict=True))
        names = _renamed(graph, wanted)
        for end, sizes in zip(
            [*graph.model.graph.input, *graph.model.graph.output],
            [*self.inputs.values(), *shapes.values()],
            strict=True,
        ):
            for dim, size in zip(end.type.tensor_type.shape.dim, sizes, strict=True):
                if isinstance(size, str):
                    dim.dim_param = size
        integers = {point: [names.get(name, name) for name in found] for point, found in graph.integers.items()}
        inputs = {name: tuple(sizes) for name, sizes in self.inputs.items()}
        return replace(graph, inputs=inputs, outputs=shapes, integers=integers)

    def _output_shapes(
        self, shapes: Mapping[Name, tuple[Dim, ...]], network: nn.Module, call: Call
    ) -> dict[Name, tuple[Dim, ...]]:
        """Shapes of outputs whose free axes have the name of what they are as long as."""
        before = _sizes(network, call)
        found = {name: list(shape) for name, shape in shapes.items()}
        for axis_name, axes in self.named.items():
            (number, axis), *_ = sorted(axes)
            for longer in calls_of_other_sizes(network, call, axes):
                length = longer.tensors[number].shape[axis]
                for shape, old, new in zip(found.values(), before, _sizes(network, longer), strict=True):
                    for place, size in enumerate(shape):
                        is_same = old[place] == call.tensors[number].shape[axis] and new[place] == length
                        if isinstance(size, str) and is_same and old[place] != new[place]:
                            shape[place] = axis_name
        return {name: tuple(shape) for name, shape in found.items()}


def _sizes(network: nn.Module, call: Call) -> list[torch.Size]:
    with torch.no_grad():
        return [x.shape for x in tensors_in(call.copied().run(network))]


def _sized(x: Tensor, sizes: Sequence[Dim]) -> Tensor:
    for axis, size in enumerate(sizes):
        if isinstance(size, int) and size != x.shape[axis]:
            x = x.index_select(axis, torch.arange(size) % x.shape[axis])
    return x


def _renamed(graph: TorchOnnx, wanted: Mapping[Name, Name]) -> dict[Name, Name]:
    """Renames values of a graph; what has a wanted name already gets another one. Returns all that changed."""
    model = graph.model.graph
    nodes = list(all_nodes(model))
    taken = {name for node in nodes for name in (*node.input, *node.output)} | {each.name for each in model.initializer}
    names = dict(wanted)
    for name in set(wanted.values()) & taken - set(wanted):
        number = 1
        while f"{name}.{number}" in taken:
            number += 1
        names[name] = f"{name}.{number}"
        taken.add(names[name])
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for each in [*model.initializer, *model.input, *model.output]:
        each.name = names.get(each.name, each.name)
    return names
