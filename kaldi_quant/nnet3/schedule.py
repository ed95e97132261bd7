"""Which node is computed at which times: exactly those that the requested outputs need and the inputs allow.

Source: the rules of ``src/nnet3/nnet-computation-graph.cc`` (``IsComputable``), for whole arrays of times at once. A
node is computable at a time when everything it requires is; what is optional (IfDefined, Failover, time offsets that a
component does not require) counts where it is computable and is zero elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.descriptor import (
    Const,
    Descriptor,
    Failover,
    IfDefined,
    NodeName,
    Offset,
    ReplaceIndex,
    Round,
    Switch,
)
from kaldi_quant.kaldi.nnet import DimRangeNode
from kaldi_quant.nnet3.graph import Graph, Group
from kaldi_quant.nnet3.time_access import SameTime, Times

Span = tuple[int, int]

#: i-vectors are given for time 0 alone, as nnet3-compute does.
IVECTOR_SPAN: Span = (0, 1)


@dataclass(frozen=True)
class Request:
    """What is asked of a network.

    Args:
        spans: first and one past the last input frame, for each kind of sequence in the batch.
        output_times: (len,) int64, sorted: where the output is wanted, in the longest sequence.
    """

    spans: tuple[Span, ...]
    output_times: Times


class Availability:
    """Where each node is computable, for each span of a request.

    Args:
        graph: the network.
        request: the spans.
        ivector_everywhere: i-vectors exist at every time, not at 0 alone.
    """

    def __init__(self, graph: Graph, request: Request, ivector_everywhere: bool = False) -> None:
        self.graph = graph
        ends = [end for _, end in request.spans] + [int(t) + 1 for t in request.output_times[-1:]]
        starts = [start for start, _ in request.spans] + [int(t) for t in request.output_times[:1]]
        self.low = min(0, *starts) - graph.margin
        self.high = max(1, *ends) + graph.margin
        self.window = np.arange(self.low, self.high)
        self._tables: dict[str, np.ndarray] = {}
        for name in graph.inputs:
            spans: Sequence[Span] = request.spans
            if name == "ivector":
                spans = [(self.low, self.high) if ivector_everywhere else IVECTOR_SPAN]
            self._tables[name] = np.array([(self.window >= start) & (self.window < end) for start, end in spans])
        for group in graph.groups:
            self._settle(group)

    def _settle(self, group: Group) -> None:
        """Computes a group's tables; a recurrent one's grow from nothing until they stay the same."""
        for name in group.nodes:
            self._tables[name] = np.zeros((1, len(self.window)), bool)
        while True:
            changed = False
            for name in group.nodes:
                table = self.graph.access(name).computable(self.window, partial(self.of_input, name))
                changed |= not np.array_equal(np.broadcast_arrays(table, self._tables[name])[0], self._tables[name])
                self._tables[name] = table
            if not (changed and group.recurrent):
                return

    def of_input(self, name: str, t: Times) -> np.ndarray:
        """Where the input of a node is computable: (spans or 1, len(t)) bool."""
        node = self.graph.node(name)
        if isinstance(node, DimRangeNode):
            return self._lookup(node.input_node, t)
        return self.of(node.input, t)  # type: ignore[union-attr]

    def of(self, descriptor: Descriptor, t: Times) -> np.ndarray:
        """Where a descriptor is computable: (spans or 1, len(t)) bool."""
        match descriptor:
            case NodeName(node):
                return self._lookup(node, t)
            case Const() | IfDefined():
                return np.ones((1, len(t)), bool)
            case Offset(source, shift):
                return self.of(source, t + shift)
            case Round(source, modulus):
                return self.of(source, t - t % modulus)
            case ReplaceIndex(source, _, value):
                return np.repeat(self.of(source, np.array([value])), len(t), axis=1)
            case Switch(parts):
                tables = np.stack(np.broadcast_arrays(*(self.of(part, t) for part in parts)))
                return tables[t % len(parts), :, np.arange(len(t))].T
            case Failover(parts):
                return self.of(parts[0], t) | self.of(parts[1], t)
        return reduce(np.logical_and, (self.of(source, t) for source in descriptor.sources()))

    def _lookup(self, name: str, t: Times) -> np.ndarray:
        index = t - self.low
        inside = (index >= 0) & (index < len(self.window))
        return self._tables[name][:, np.where(inside, index, 0)] & inside


class Schedule:
    """The times at which each node is computed.

    Args:
        graph: the network.
        request: what is asked.
        computed: for each node the times at which it is there already; None for nothing.

    Attributes:
        times: for each node the sorted times of its output that are not there yet.
        input_times: for each node the sorted times at which its input is put together.

    Raises:
        ModelError: the inputs do not suffice for a requested output.
    """

    def __init__(self, graph: Graph, request: Request, computed: Mapping[str, Times] | None = None) -> None:
        self.graph = graph
        self.request = request
        self.available = self._availability()
        self._computed = {name: np.zeros(len(self.available.window), bool) for name in graph.names}
        for name, times in (computed or {}).items():
            self._computed[name][times - self.available.low] = True
        self._needed = {name: there.copy() for name, there in self._computed.items()}
        self._fresh = {name: np.zeros(len(self.available.window), bool) for name in graph.names}
        for output in graph.outputs:
            possible = self._any(self.available.of_input(output, request.output_times))
            if not possible.all():
                t = int(request.output_times[~possible][0])
                raise ModelError(
                    f"{graph.nnet.path}: the input frames do not suffice to compute the {output} at frame {t}"
                )
            self._ask(output, request.output_times)
        for group in reversed(graph.groups):
            self._spread(group)
        self.times = {name: self._taken(needed & ~self._computed[name]) for name, needed in self._needed.items()}
        self.input_times = {name: self._inputs_of(name, times) for name, times in self.times.items()}

    def _availability(self) -> Availability:
        return Availability(self.graph, self.request)

    @staticmethod
    def _any(table: np.ndarray) -> np.ndarray:
        return np.any(table, axis=0)

    def _taken(self, needed: np.ndarray) -> Times:
        return self.available.window[needed]

    def _ask(self, name: str, t: Times) -> None:
        index = t - self.available.low
        new = index[~self._needed[name][index]]
        self._needed[name][new] = True
        self._fresh[name][new] = True

    def _inputs_of(self, name: str, t: Times) -> Times:
        access = self.graph.access(name)
        times = access.inputs(t)
        if isinstance(access, SameTime):
            return times
        return times[self._any(self.available.of_input(name, times))] if len(times) else times

    def _spread(self, group: Group) -> None:
        """Asks the nodes that a group reads for what it needs; a recurrent group reads itself."""
        pending = True
        while pending:
            pending = False
            for name in reversed(group.nodes):
                fresh = self._fresh[name]
                if not fresh.any():
                    continue
                pending = group.recurrent
                times = self._inputs_of(name, self._taken(fresh))
                self._fresh[name] = np.zeros_like(fresh)
                if not len(times):
                    continue
                node = self.graph.node(name)
                if isinstance(node, DimRangeNode):
                    self._ask(node.input_node, times)
                else:
                    self._demand(node.input, times)  # type: ignore[union-attr]

    def _demand(self, descriptor: Descriptor, t: Times) -> None:
        if not len(t):
            return
        match descriptor:
            case NodeName(node):
                self._ask(node, np.unique(t))
            case Offset(source, shift):
                self._demand(source, t + shift)
            case Round(source, modulus):
                self._demand(source, t - t % modulus)
            case ReplaceIndex(source, _, value):
                self._demand(source, np.array([value]))
            case IfDefined(source):
                self._demand(source, t[self._any(self.available.of(source, t))])
            case Switch(parts):
                for i, part in enumerate(parts):
                    self._demand(part, t[t % len(parts) == i])
            case Failover(parts):
                first = self.available.of(parts[0], t)
                self._demand(parts[0], t[self._any(first)])
                # In a batch of different spans some sequences may fall over where others do not.
                self._demand(parts[1], t[self._any(~first & self.available.of(parts[1], t))])
            case _:
                for source in descriptor.sources():
                    self._demand(source, t)
