"""A network made ready for one request: the steps that compute its output, in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.kaldi.descriptor import NodeName
from kaldi_quant.kaldi.nnet import ComponentNode, DimRangeNode, OutputNode
from kaldi_quant.nnet3.components.base import ComponentModule
from kaldi_quant.nnet3.components.elementwise import ConstantOutput
from kaldi_quant.nnet3.components.statistics import RangeComponent
from kaldi_quant.nnet3.expression import Columns, Compiler, Expression, Mask, Masked, NodeRows, Rows, Values
from kaldi_quant.nnet3.graph import Graph, sources_of
from kaldi_quant.nnet3.recurrence import Recurrence
from kaldi_quant.nnet3.schedule import IVECTOR_SPAN, Request, Schedule
from kaldi_quant.nnet3.time_access import NoInput, TimeOffsets, TimeRange
from kaldi_quant.quant.taps import Tap


class Step(ABC):
    """Computes one node (or one recurrent group) from those before it."""

    @abstractmethod
    def run(self, values: Values) -> None:
        """Adds the node's output to ``values``."""


@dataclass
class FrameStep(Step):
    """A component that works frame by frame, or none: a dim-range or output node."""

    node: str
    input: Expression
    module: ComponentModule | None

    def run(self, values: Values) -> None:
        x = self.input.evaluate(values)
        values.nodes[self.node] = values.tapped(self.node, x if self.module is None else self.module(x))


@dataclass
class ConstantStep(Step):
    """A component without input."""

    node: str
    module: ConstantOutput
    times: int

    def run(self, values: Values) -> None:
        values.nodes[self.node] = values.tapped(self.node, self.module(values.batch, self.times))


@dataclass
class OffsetsStep(Step):
    """A component that reads its input at several time offsets."""

    node: str
    module: ComponentModule
    input: Expression | None
    parts: list[Expression]

    def run(self, values: Values) -> None:
        key = f"{self.node} input"
        if self.input is not None:
            values.nodes[key] = self.input.evaluate(values)
        x = self.module([part.evaluate(values) for part in self.parts])
        values.nodes[self.node] = values.tapped(self.node, x)
        values.nodes.pop(key, None)


@dataclass
class RangeStep(Step):
    """A component that sums over ranges of its input's times."""

    node: str
    module: RangeComponent
    input: Expression
    mask: Mask
    first: Tensor
    end: Tensor

    def run(self, values: Values) -> None:
        x = self.mask.apply(self.input.evaluate(values), values)
        valid = self.mask.of(values).to(x.dtype)
        x = self.module(x, valid, self.first.to(x.device), self.end.to(x.device))
        values.nodes[self.node] = values.tapped(self.node, x)


class Program:
    """The steps for a request, and when each value is last used.

    The schedule that they are made of, most of a program's memory, is not kept: calibration holds many programs.

    Args:
        graph: the network.
        modules: its components by name.
        request: the spans of the inputs and the times of the output.

    Raises:
        ModelError: the inputs do not suffice for a requested output.
    """

    def __init__(self, graph: Graph, modules: dict[str, ComponentModule], request: Request) -> None:
        self.graph, self.request = graph, request
        schedule = Schedule(graph, request)
        first = min(start for start, _ in request.spans)
        self._inputs: dict[str, Rows | None] = {}
        for name in graph.inputs:
            start = IVECTOR_SPAN[0] if name == "ivector" else first
            times = schedule.times[name]
            self._inputs[name] = Rows(times - start) if len(times) else None
        self.steps: list[Step] = []
        self._releases: list[list[str]] = []
        last_use: dict[str, int] = {}
        for i, group in enumerate(graph.groups):
            for name in group.nodes:
                last_use.update(dict.fromkeys(sources_of(graph.nnet, name), i))
            self.steps.append(
                Recurrence(graph, group, schedule, modules)  # type: ignore[arg-type]
                if group.recurrent
                else step_of(group.nodes[0], schedule, modules)
            )
            self._releases.append([])
        for name, i in last_use.items():
            self._releases[i].append(name)

    def run(self, inputs: dict[str, Tensor], kinds: Tensor, taps: Mapping[str, Tap] | None = None) -> dict[str, Tensor]:
        """Computes the outputs.

        Args:
            inputs: ``input``: (N, frames, dim), its first frame being the first of all spans; ``ivector``: (N, 1, dim).
            kinds: (N,) int64: which of the request's spans each sequence has.
            taps: see ``Values``.

        Returns:
            output node → (N, len(output_times), output_dim)
        """
        values = self.begin(inputs, kinds, taps)
        for place in range(len(self.steps)):
            self.step(place, values)
        return {name: values.nodes[name] for name in self.graph.outputs}

    def begin(self, inputs: dict[str, Tensor], kinds: Tensor, taps: Mapping[str, Tap] | None = None) -> Values:
        """What there is before the first step; arguments as of ``run``."""
        like = inputs["input"]
        # What it stands for may have to wait on disk.
        values = Values({}, like.shape[0], kinds, like.new_empty(0), taps or {})
        for name, rows in self._inputs.items():
            values.nodes[name] = values.tapped(name, inputs[name][:, :0] if rows is None else rows.of(inputs[name]))
        return values

    def step(self, place: int, values: Values) -> None:
        """Computes the step at a place, and forgets what no later one reads."""
        self.steps[place].run(values)
        for name in self._releases[place]:
            values.nodes.pop(name, None)


def step_of(name: str, schedule: Schedule, modules: Mapping[str, ComponentModule]) -> Step:
    """What computes a node that does not depend on itself.

    Args:
        name: the node.
        schedule: its times, and those of the rows that there are of the nodes it reads.
        modules: the components by name.
    """
    graph, times, compiler = schedule.graph, schedule.times[name], Compiler(schedule)
    node = graph.node(name)
    if isinstance(node, DimRangeNode):
        rows = compiler.node_rows(node.input_node, times)
        return FrameStep(name, Columns(rows, node.dim_offset, node.dim, len(times)), None)
    assert isinstance(node, ComponentNode | OutputNode)
    module = modules[node.component] if isinstance(node, ComponentNode) else None
    access = graph.access(name)
    if isinstance(access, NoInput):
        assert isinstance(module, ConstantOutput)
        return ConstantStep(name, module, len(times))
    if isinstance(access, TimeOffsets):
        assert module is not None
        return _offsets_step(node, access, module, schedule)
    if isinstance(access, TimeRange):
        assert isinstance(module, RangeComponent)
        return _range_step(node, access, module, schedule)
    return FrameStep(name, compiler.compile(node.input, times), module)


def _offsets_step(
    node: ComponentNode | OutputNode, access: TimeOffsets, module: ComponentModule, schedule: Schedule
) -> Step:
    times, compiler = schedule.times[node.name], Compiler(schedule)
    source = node.input
    if isinstance(source, NodeName):
        # No need to put the input together first: the parts are rows of one node.
        parts = [compiler.optional(source, times + offset) for offset in access.offsets]
        return OffsetsStep(node.name, module, None, parts)
    input_times = schedule.input_times[node.name]
    parts = []
    for offset in access.offsets:
        shifted = times + offset
        index = np.clip(np.searchsorted(input_times, shifted), 0, len(input_times) - 1)
        rows = NodeRows(f"{node.name} input", Rows(index), len(times))
        mask = compiler.mask(source, shifted)
        parts.append(rows if mask.everywhere else Masked(rows, mask, len(times)))
    return OffsetsStep(node.name, module, compiler.compile(source, input_times), parts)


def _range_step(
    node: ComponentNode | OutputNode, access: TimeRange, module: RangeComponent, schedule: Schedule
) -> Step:
    input_times, compiler = schedule.input_times[node.name], Compiler(schedule)
    first, last = access.bounds(schedule.times[node.name])
    return RangeStep(
        node.name,
        module,
        compiler.compile(node.input, input_times),
        compiler.mask(node.input, input_times),
        torch.from_numpy(np.searchsorted(input_times, first)),
        torch.from_numpy(np.searchsorted(input_times, last, side="right")),
    )
