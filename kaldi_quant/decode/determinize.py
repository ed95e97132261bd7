"""Determinization of a raw lattice: one path, the best, for every word sequence within the beam.

A state of the result is a set of (raw state, cost, transition-ids) that one word sequence can lead to; what all members
have in common is moved to the arc that leads there. States are made best first, so that a limit on the work narrows
the beam.
Source: ``src/lat/determinize-lattice-pruned.cc`` of Kaldi, and "Generating exact lattices in the WFST framework"
(Povey et al., ICASSP 2012).
"""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, TypeVar

import numpy as np

from kaldi_quant.decode.label_strings import NO_STRING, LabelStrings
from kaldi_quant.kaldi.lattice import CompactLattice, assemble

# Costs closer than this are the same when two sets are compared: kDelta of OpenFST, as Kaldi's `delta`.
_DELTA = 1.0 / 1024
# The number of set members after which no further states are made; Kaldi limits memory (max-mem) to the same end.
_MOST_MEMBERS = 2_000_000

# (total cost, graph cost, acoustic cost, string): the order of comparison is Kaldi's for LatticeWeight.
Weight = tuple[float, float, float, int]
Subset = dict[int, Weight]
T = TypeVar("T")

_ONE: Weight = (0.0, 0.0, 0.0, NO_STRING)


class _SubsetTable(Generic[T]):
    """What belongs to sets of raw states; two are the same when members and strings are, and costs nearly."""

    def __init__(self) -> None:
        self._entries: dict[tuple[tuple[int, int], ...], list[tuple[Subset, T]]] = {}

    def find(self, subset: Subset) -> T | None:
        """What was added for the same set, or None."""
        for known, value in self._entries.get(self._key(subset), []):
            if all(abs(known[state][0] - weight[0]) <= _DELTA for state, weight in subset.items()):
                return value
        return None

    def add(self, subset: Subset, value: T) -> None:
        """Adds a value for a set."""
        self._entries.setdefault(self._key(subset), []).append((subset, value))

    @staticmethod
    def _key(subset: Subset) -> tuple[tuple[int, int], ...]:
        return tuple(sorted((state, weight[3]) for state, weight in subset.items()))


class _Determinizer:
    """The work on one lattice; its fields are what the steps share."""

    def __init__(self, raw: CompactLattice, beam: float, most_members: int) -> None:
        self.strings = LabelStrings()
        self.members_left = most_members
        order = raw.topological_order()
        self.rank = [0] * raw.num_states
        for rank, state in enumerate(order):
            self.rank[state] = rank
        self._take_arcs(raw)
        self.backward = self._backward_costs(order)
        self.start = raw.start
        self.beam = beam
        self.cutoff = self.backward[raw.start] + beam
        # The states of the result: set, forward cost, arcs (word, destination, weight).
        self.subsets: list[Subset] = []
        self.forward: list[float] = []
        self.arcs: list[list[tuple[int, int, Weight]]] = []
        self._before: _SubsetTable[tuple[int, Weight]] = _SubsetTable()
        self._after: _SubsetTable[int] = _SubsetTable()
        self._tasks: list[tuple[float, int, int, int, Subset]] = []
        self._numbers = itertools.count()

    def _take_arcs(self, raw: CompactLattice) -> None:
        """Sorts each raw state's arcs into those with a word and those without."""
        offsets, words, nextstates = raw.arc_offsets.tolist(), raw.word.tolist(), raw.nextstate.tolist()
        costs = raw.cost.tolist()
        labels = [string.tolist()[0] if len(string) else 0 for string in raw.strings]
        self.word_arcs: list[list[tuple[int, int, float, float, int]]] = []
        self.epsilon_arcs: list[list[tuple[int, int, float, float, int]]] = []
        for state in range(raw.num_states):
            arcs = [
                (words[arc], nextstates[arc], *costs[arc], labels[arc])
                for arc in range(offsets[state], offsets[state + 1])
            ]
            self.word_arcs.append([arc for arc in arcs if arc[0]])
            self.epsilon_arcs.append([arc for arc in arcs if not arc[0]])
        self.final: list[tuple[float, float]] = [(graph, acoustic) for graph, acoustic in raw.final.tolist()]

    def _backward_costs(self, order: list[int]) -> list[float]:
        """The cost of the best way from each raw state to the end."""
        backward = [graph + acoustic for graph, acoustic in self.final]
        for state in reversed(order):
            for _, nextstate, graph, acoustic, _ in self.word_arcs[state] + self.epsilon_arcs[state]:
                backward[state] = min(backward[state], graph + acoustic + backward[nextstate])
        return backward

    def run(self) -> None:
        """Makes all states within the beam."""
        start = self._minimal(self._close({self.start: _ONE}))
        self._add_state(start, 0.0)
        while self._tasks and self.members_left > 0:
            _, _, state, word, subset = heapq.heappop(self._tasks)
            destination, weight = self._resolve(subset, self.forward[state])
            self.arcs[state].append((word, destination, weight))

    def _resolve(self, subset: Subset, forward: float) -> tuple[int, Weight]:
        """The state for a set of raw states, made where it is new, and the weight of the arc that leads to it.

        The set is looked up before and after what epsilon leads to is added: the first look-up saves that work.
        """
        before = self._normalize(subset)
        known = self._before.find(subset)
        if known is None:
            closed = self._minimal(self._close(subset))
            after = self._normalize(closed)
            state = self._after.find(closed)
            if state is None:
                state = self._add_state(closed, forward + before[0] + after[0])
                self._after.add(closed, state)
            known = (state, after)
            self._before.add(subset, known)
        state, after = known
        graph, acoustic = before[1] + after[1], before[2] + after[2]
        return state, (graph + acoustic, graph, acoustic, self.strings.concatenate(before[3], after[3]))

    def _add_state(self, subset: Subset, forward: float) -> int:
        state = len(self.subsets)
        self.subsets.append(subset)
        self.forward.append(forward)
        self.arcs.append([])
        self._add_tasks(state)
        return state

    def _close(self, subset: Subset) -> Subset:
        """Adds what arcs without words lead to; each raw state keeps its best weight."""
        closed = dict(subset)
        worst = min(weight[0] + self.backward[state] for state, weight in subset.items()) + self.beam
        queue = [(self.rank[state], state) for state in subset]
        heapq.heapify(queue)
        while queue:
            _, state = heapq.heappop(queue)
            _, graph, acoustic, string = closed[state]
            for _, nextstate, arc_graph, arc_acoustic, label in self.epsilon_arcs[state]:
                new_graph, new_acoustic = graph + arc_graph, acoustic + arc_acoustic
                total = new_graph + new_acoustic
                if total + self.backward[nextstate] > worst:
                    continue
                found = closed.get(nextstate)
                if found is None:
                    heapq.heappush(queue, (self.rank[nextstate], nextstate))
                if found is None or (total, new_graph) < found[:2]:
                    closed[nextstate] = (total, new_graph, new_acoustic, self.strings.append(string, label))
        self.members_left -= len(closed)
        return closed

    def _minimal(self, subset: Subset) -> Subset:
        """The members that end or that a word leaves: the others have done their work."""
        return {s: weight for s, weight in subset.items() if self.word_arcs[s] or self.final[s][0] != np.inf}

    def _normalize(self, subset: Subset) -> Weight:
        """Takes the best cost and the common prefix out of a set, in place, and returns them."""
        _, graph, acoustic, _ = min(subset.values())
        strings = [weight[3] for weight in subset.values()]
        prefix = self.strings.common_prefix(strings)
        rests = self.strings.without_prefix(strings, prefix)
        for (state, weight), rest in zip(subset.items(), rests, strict=True):
            rest_graph, rest_acoustic = weight[1] - graph, weight[2] - acoustic
            subset[state] = (rest_graph + rest_acoustic, rest_graph, rest_acoustic, rest)
        return graph + acoustic, graph, acoustic, prefix

    def _add_tasks(self, state: int) -> None:
        """Queues every word that leaves a state, with the set of raw states that it leads to."""
        by_word: dict[int, Subset] = {}
        for raw, (_, graph, acoustic, string) in self.subsets[state].items():
            for word, nextstate, arc_graph, arc_acoustic, label in self.word_arcs[raw]:
                subset = by_word.setdefault(word, {})
                new_graph, new_acoustic = graph + arc_graph, acoustic + arc_acoustic
                found = subset.get(nextstate)
                if found is None or (new_graph + new_acoustic, new_graph) < found[:2]:
                    string_here = self.strings.append(string, label)
                    subset[nextstate] = (new_graph + new_acoustic, new_graph, new_acoustic, string_here)
        for word, subset in by_word.items():
            best = min(weight[0] + self.backward[raw] for raw, weight in subset.items())
            priority = self.forward[state] + best
            if priority <= self.cutoff:
                heapq.heappush(self._tasks, (priority, next(self._numbers), state, word, subset))

    def result(self) -> CompactLattice:
        """The states that were made, as a lattice."""
        finals, final_strings = [], []
        for subset in self.subsets:
            final = min(self._final(raw, weight) for raw, weight in subset.items())
            finals.append((final[1], final[2]))
            final_strings.append(np.array(self.strings.labels(final[3]) if final[0] != np.inf else [], np.int32))
        arcs = [arc for some in self.arcs for arc in some]
        return assemble(
            0,
            finals,
            final_strings,
            np.cumsum([0] + [len(some) for some in self.arcs]).tolist(),
            [word for word, _, _ in arcs],
            [(weight[1], weight[2]) for _, _, weight in arcs],
            [destination for _, destination, _ in arcs],
            [np.array(self.strings.labels(weight[3]), np.int32) for _, _, weight in arcs],
        )

    def _final(self, raw: int, weight: Weight) -> Weight:
        graph, acoustic = self.final[raw]
        if graph == np.inf:
            return (np.inf, np.inf, np.inf, NO_STRING)
        graph, acoustic = weight[1] + graph, weight[2] + acoustic
        return (graph + acoustic, graph, acoustic, weight[3])


def determinize(raw: CompactLattice, beam: float, most_members: int = _MOST_MEMBERS) -> CompactLattice:
    """Determinizes a raw lattice and prunes it to ``beam``.

    Args:
        raw: a lattice without cycles, each arc with at most one transition-id; its costs as they were decoded with.
        beam: word sequences that are worse than the best by more than this are left out.
        most_members: limits the work; the beam is narrower where the limit is met.

    Returns:
        A lattice in which no state has two arcs with the same word; state 0 is its start.

    Raises:
        DataError: the lattice has a cycle.
    """
    work = _Determinizer(raw, beam, most_members)
    work.run()
    return work.result()
