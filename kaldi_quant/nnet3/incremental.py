"""Networks computed chunk by chunk: what a chunk leaves is there for the next ones, and nothing is computed twice.

The schedule of a chunk asks for what its outputs need and earlier chunks have not computed. Times are counted from the
first frame of each chunk, and from some chunk on all schedules are the same: that one serves all later chunks.

Source: ``CompileLooped`` in ``src/nnet3/nnet-compile-looped.cc``, which finds the same by compiling some chunks and
looking for a repetition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.descriptor import NodeName
from kaldi_quant.kaldi.nnet import ComponentNode
from kaldi_quant.nnet3.components.base import ComponentModule
from kaldi_quant.nnet3.expression import Rows, Values
from kaldi_quant.nnet3.graph import Graph
from kaldi_quant.nnet3.ivector_rows import with_ivector_rows
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.program import Step, step_of
from kaldi_quant.nnet3.recurrence_in_chunks import LoopStep, delay_of
from kaldi_quant.nnet3.schedule import Availability, Request, Schedule
from kaldi_quant.nnet3.time_access import Times
from kaldi_quant.units import Frames

#: Gives the rows of an input node at times counted from a chunk's first frame: (len, dim) float32.
InputRows = Callable[[str, Times], np.ndarray]

# Kaldi, too, compiles 100 chunks at most.
_MOST_PLANS = 100


@dataclass
class IncrementalState:
    """What an utterance has computed so far.

    Attributes:
        chunks: that are computed.
        nodes: by node the rows that later chunks read, (1, rows, dim).
    """

    chunks: int = 0
    nodes: dict[str, Tensor] = field(default_factory=dict)


class IncrementalNetwork:
    """A network whose utterances are computed chunk by chunk, recurrences, statistics and optional inputs included.

    Args:
        model: the network in torch, float or with integers in its slots. Where ranges are found anew for each
            sequence (``DynamicLinear``), they are those of what a chunk adds.
        subsampling: frames between outputs.
        frames_per_chunk: a multiple of ``subsampling`` and of the network's modulus.

    Raises:
        ModelError: values depend on later frames of themselves, so that nothing is final before the utterance ends; or
            i-vectors are read in an unusual way.
    """

    def __init__(self, model: AcousticModel, subsampling: int, frames_per_chunk: Frames) -> None:
        self.model, self.frames_per_chunk = model.eval(), frames_per_chunk
        nnet = with_ivector_rows(model.nnet)
        nodes = [nnet.nodes[name] for name in model.graph.names]
        components = {node.component for node in nodes if isinstance(node, ComponentNode)}
        self._modules = {name: model.component(name) for name in components}
        accesses = {name: module.access for name, module in self._modules.items()}
        self.graph = Graph(nnet, model.graph.output, accesses)
        self._delays = {group.nodes: delay_of(self.graph, group) for group in self.graph.groups if group.recurrent}
        self._plans = self._planned(np.arange(0, frames_per_chunk, subsampling))
        #: The earliest time at which a chunk asks for features or i-vectors, counted from its first frame.
        self.first_read = min(int(times[0]) for plan in self._plans for times in plan.inputs.values())
        parameters = next(iter(model.parameters()), torch.zeros(0))
        self._like = torch.zeros(0, dtype=parameters.dtype, device=parameters.device)

    def _planned(self, outputs: Times) -> list[_Plan]:
        """The plans of the first chunks, of which the last serves all later ones."""
        each, context = self.frames_per_chunk, self.model.context
        schedules: list[_ChunkSchedule] = []
        computed: dict[str, Times] = {}
        while len(schedules) < 2 or not schedules[-1].repeats(schedules[-2]):
            if len(schedules) == _MOST_PLANS:
                raise ModelError(f"{self.graph.nnet.path}: chunks of {each} frames never become alike")
            span = (-context.left - len(schedules) * each, each + context.right)
            schedule = _ChunkSchedule(self.graph, Request((span,), outputs), computed)
            schedules.append(schedule)
            computed = {name: times - each for name, times in schedule.all_times.items()}
        lags: dict[str, int] = {}
        for schedule in schedules:
            for name, since in schedule.read_since.items():
                lags[name] = min(lags.get(name, since), since)
        return [_Plan(schedule, lags, each, self._modules, self._delays) for schedule in schedules[:-1]]

    @staticmethod
    def begin() -> IncrementalState:
        """An utterance before its first chunk."""
        return IncrementalState()

    @torch.inference_mode()
    def chunk(self, state: IncrementalState, rows: InputRows) -> np.ndarray:
        """Computes the next chunk.

        Args:
            state: of the utterance; goes on to the next chunk.
            rows: gives features and i-vectors.

        Returns:
            (outputs, output dim) float32.
        """
        plan = self._plans[min(state.chunks, len(self._plans) - 1)]
        like = self._like
        values = Values(dict(state.nodes), 1, torch.zeros(1, dtype=torch.int64), like, self.model.taps)
        for name, times in plan.inputs.items():
            given = torch.from_numpy(np.ascontiguousarray(rows(name, times))).to(like).unsqueeze(0)
            values.nodes[name] = plan.joined(name, values, values.tapped(name, given))
        for name, step in plan.steps:
            kept = values.nodes.get(name)
            step.run(values)
            if kept is not None and not isinstance(step, LoopStep):
                values.nodes[name], new = kept, values.nodes[name]
                values.nodes[name] = plan.joined(name, values, new)
        output = values.nodes[self.graph.output][0, -plan.outputs :]
        state.nodes = {name: rows.of(values.nodes[name]) for name, rows in plan.kept.items()}
        state.chunks += 1
        return output.float().cpu().numpy()


class _ChunkSchedule(Schedule):
    """What one chunk has to compute.

    Attributes:
        before: by node the times that earlier chunks have computed.
        new: those that this one computes.
        read_since: by node the first time at which it is read.
    """

    def __init__(self, graph: Graph, request: Request, computed: Mapping[str, Times]) -> None:
        self._asked: dict[str, int] = {}
        super().__init__(graph, request, computed)
        none = np.zeros(0, np.int64)
        self.before = {name: computed.get(name, none) for name in graph.names}
        self.new = dict(self.times)
        self.read_since = dict(self._asked)

    @property
    def all_times(self) -> dict[str, Times]:
        """By node the times that are computed when this chunk is."""
        return {name: np.union1d(self.before[name], new) for name, new in self.new.items()}

    def _availability(self) -> Availability:
        return Availability(self.graph, self.request, ivector_everywhere=True)

    def _ask(self, name: str, t: Times) -> None:
        if len(t):
            self._asked[name] = min(int(t.min()), self._asked.get(name, int(t.min())))
        super()._ask(name, t)

    def repeats(self, other: _ChunkSchedule) -> bool:
        """Whether the chunk before had the same to do, and the same to do it with."""
        if self.read_since != other.read_since:
            return False
        for name, since in self.read_since.items():
            same = np.array_equal(self.new[name], other.new[name])
            kept, before = (schedule.before[name] for schedule in (self, other))
            if not same or not np.array_equal(kept[kept >= since], before[before >= since]):
                return False
        if not self.graph.has_optional_inputs:
            return True
        first = min(int(times[0]) for times in self.new.values() if len(times)) - self.graph.margin
        window = np.arange(first, self.available.high)
        return all(
            np.array_equal(self.available.of(NodeName(name), window), other.available.of(NodeName(name), window))
            for name in self.graph.names
        )


class _Plan:
    """How a chunk is computed.

    Args:
        schedule: of the chunk; it is used up.
        lags: by node the first time at which any chunk reads it.
        each: frames of a chunk.
        modules: the components by name.
        delays: the shortest delay of each recurrent group.

    Attributes:
        inputs: by input node the times whose rows are to be given.
        steps: nodes with what computes them, in order.
        kept: by node which of its rows later chunks read.
        outputs: rows of output.
    """

    def __init__(
        self,
        schedule: _ChunkSchedule,
        lags: Mapping[str, int],
        each: Frames,
        modules: Mapping[str, ComponentModule],
        delays: Mapping[tuple[str, ...], int],
    ) -> None:
        graph = schedule.graph
        self.outputs = len(schedule.request.output_times)
        self.inputs = {name: schedule.new[name] for name in graph.inputs if len(schedule.new[name])}
        self.steps: list[tuple[str, Step]] = []
        self.kept: dict[str, Rows] = {}
        self._orders: dict[str, Rows | None] = {}
        for name in graph.names:
            before = schedule.before[name]
            schedule.times[name] = before[before >= lags.get(name, 0)]
        for name in graph.inputs:
            self._add(name, schedule)
        for group in graph.groups:
            if group.recurrent:
                self.steps.append(
                    (group.nodes[0], LoopStep(group, schedule, schedule.new, modules, delays[group.nodes]))
                )
            elif len(schedule.new[name := group.nodes[0]]):
                kept, schedule.times[name] = schedule.times[name], schedule.new[name]
                self.steps.append((name, step_of(name, schedule, modules)))
                schedule.times[name] = kept
                self._add(name, schedule)
        for name, times in schedule.times.items():
            later = np.flatnonzero(times >= each + lags.get(name, 0))
            if len(later):
                self.kept[name] = Rows(later)

    def _add(self, name: str, schedule: _ChunkSchedule) -> None:
        """Adds what a node computes to what there is of it."""
        times = np.concatenate([schedule.times[name], schedule.new[name]])
        order = np.argsort(times)
        self._orders[name] = None if (order == np.arange(len(order))).all() else Rows(order)
        schedule.times[name] = times[order]

    def joined(self, name: str, values: Values, new: Tensor) -> Tensor:
        """All rows of a node, in the order of time: those that there are in the values, and new ones."""
        kept = values.nodes.get(name)
        whole = new if kept is None else torch.cat([kept, new], dim=1)
        order = self._orders[name]
        return whole if order is None else order.of(whole)
