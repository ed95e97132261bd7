"""Determinization of a raw lattice: one path, the best, for every word sequence within the beam.

A state of the result is a set of (raw state, cost, transition-ids) that one word sequence can lead to on paths within
the beam; what all members have in common is moved to the arc that leads there. States are made best first: where a set
comes again, it is by a path that is no better, and nothing is missing in it; and a limit on the work narrows the beam.
Source: ``src/lat/determinize-lattice-pruned.cc`` of Kaldi, and "Generating exact lattices in the WFST framework"
(Povey et al., ICASSP 2012).
"""

from __future__ import annotations

import gc
import heapq
import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import numpy as np

from kaldi_quant.decode.closure import Closure, Member
from kaldi_quant.decode.raw_lattice import INFINITE, RawLattice
from kaldi_quant.kaldi.lattice import CompactLattice, assemble

# Costs closer than this are the same when two sets are compared: kDelta of OpenFST, as Kaldi's `delta`.
_DELTA = 1.0 / 1024
# The number of set members after which no further states are made; Kaldi limits memory (max-mem) to the same end.
_MOST_MEMBERS = 2_000_000

# In the order of their states.
Members = list[Member]
_Key = tuple[tuple[str, int], ...]
T = TypeVar("T")


class _SubsetTable(Generic[T]):
    """What belongs to sets of raw states; two are the same when members and strings are, and costs nearly."""

    def __init__(self) -> None:
        self._entries: dict[_Key, list[tuple[list[float], T]]] = {}
        self._missed: tuple[_Key, list[float]]

    def find(self, members: Members) -> T | None:
        """What was added for the same set, or None."""
        key = tuple([member[2:] for member in members])
        costs = [member[0] for member in members]
        for known, value in self._entries.get(key, ()):
            if all(abs(one - other) <= _DELTA for one, other in zip(known, costs, strict=True)):
                return value
        self._missed = key, costs
        return None

    def add(self, value: T) -> None:
        """Adds a value for the set that was not found last."""
        key, costs = self._missed
        self._entries.setdefault(key, []).append((costs, value))


class _Determinizer:
    """The work on one lattice; its fields are what the steps share."""

    def __init__(self, raw: RawLattice, beam: float, most_members: int) -> None:
        self.raw = raw
        self.members_left = most_members
        # Finite, so that what leads to no end is never within it.
        self.cutoff = min(raw.backward[raw.start] + beam, sys.float_info.max)
        # The states of the result: set, forward cost, arcs (word, destination, total cost, graph cost, string).
        self.subsets: list[Members] = []
        self.forward: list[float] = []
        self.arcs: list[list[tuple[int, int, float, float, str]]] = []
        self._closure = Closure(raw)
        self._before: _SubsetTable[tuple[int, float, float, str]] = _SubsetTable()
        self._after: _SubsetTable[int] = _SubsetTable()
        self._tasks: list[tuple[float, int, int, int, Members]] = []
        self._numbers = itertools.count()

    def run(self) -> None:
        """Makes all states within the beam."""
        self._add_state(self._close([(0.0, 0.0, "", self.raw.start)], 0.0), 0.0)
        while self._tasks and self.members_left > 0:
            _, _, state, word, members = heapq.heappop(self._tasks)
            self.arcs[state].append((word, *self._resolve(members, self.forward[state])))

    def _close(self, members: Members, forward: float) -> Members:
        # Rounding does not leave a set without members.
        closed, looked_at = self._closure.of(members, self.cutoff + _DELTA - forward)
        self.members_left -= looked_at
        return closed

    def _resolve(self, members: Members, forward: float) -> tuple[int, float, float, str]:
        """The state for a set of raw states, made where it is new, and the weight of the arc that leads to it.

        The set is looked up before and after what epsilon leads to is added: the first look-up saves that work.
        """
        members, total, graph, prefix = self._normalize(members)
        known = self._before.find(members)
        if known is None:
            closed, more_total, more_graph, more = self._normalize(self._close(members, forward + total))
            state = self._after.find(closed)
            if state is None:
                state = self._add_state(closed, forward + total + more_total)
                self._after.add(state)
            known = (state, more_total, more_graph, more)
            self._before.add(known)
        state, more_total, more_graph, more = known
        return state, total + more_total, graph + more_graph, prefix + more

    def _add_state(self, members: Members, forward: float) -> int:
        state = len(self.subsets)
        self.subsets.append(members)
        self.forward.append(forward)
        self.arcs.append([])
        self._add_tasks(state)
        return state

    def _normalize(self, members: Members) -> tuple[Members, float, float, str]:
        """Takes the best cost and the common prefix out of a set; returns what is left, and these."""
        best, best_graph, string, state = min(members)
        if len(members) == 1:
            return [(0.0, 0.0, "", state)], best, best_graph, string
        strings = [string for _, _, string, _ in members]
        prefix = _common_prefix(min(strings), max(strings))
        behind = len(prefix)
        rest = [(total - best, graph - best_graph, rest[behind:], state) for total, graph, rest, state in members]
        return rest, best, best_graph, prefix

    def _add_tasks(self, state: int) -> None:
        """Queues every word that leaves a state within the beam, with the set of raw states that it leads to."""
        words, least = self.raw.words, self.raw.least
        forward, cutoff = self.forward[state], self.cutoff
        best: dict[int, float] = {}
        reached: dict[int, dict[int, Member]] = {}
        for total, graph, string, raw in self.subsets[state]:
            if forward + (total + least[raw]) > cutoff:
                continue
            for word, target, arc_total, arc_graph, bound, labels in words[raw]:
                priority = forward + (total + bound)
                if priority > cutoff:
                    continue
                member = (total + arc_total, graph + arc_graph, string + labels, target)
                if word not in best:
                    best[word], reached[word] = priority, {target: member}
                    continue
                best[word] = min(best[word], priority)
                targets = reached[word]
                targets[target] = min(targets.get(target, member), member)
        for word, targets in reached.items():
            members = [targets[target] for target in sorted(targets)]
            heapq.heappush(self._tasks, (best[word], next(self._numbers), state, word, members))

    def result(self) -> CompactLattice:
        """The states that were made, as a lattice."""
        finals, final_strings = [], []
        for members in self.subsets:
            ends = [self._final(member) for member in members if self.raw.final[member[3]][0] != INFINITE]
            total, graph, string = min(ends, default=(INFINITE, INFINITE, ""))
            finals.append((graph, total - graph) if ends else (INFINITE, INFINITE))
            final_strings.append(string)
        arcs = [arc for some in self.arcs for arc in some]
        return assemble(
            0,
            finals,
            self.raw.transition_ids(final_strings),
            np.cumsum([0] + [len(some) for some in self.arcs]).tolist(),
            [word for word, *_ in arcs],
            [(graph, total - graph) for _, _, total, graph, _ in arcs],
            [destination for _, destination, *_ in arcs],
            self.raw.transition_ids([string for *_, string in arcs]),
        )

    def _final(self, member: Member) -> tuple[float, float, str]:
        total, graph, string, raw = member
        final, final_graph = self.raw.final[raw]
        return (total + final, graph + final_graph, string)


def _common_prefix(first: str, last: str) -> str:
    """That of all strings between two in alphabetical order."""
    if last.startswith(first):
        return first
    begin, end = 0, len(first)
    while end - begin > 1:
        middle = (begin + end) // 2
        begin, end = (middle, end) if last.startswith(first[:middle]) else (begin, middle)
    return first[:begin]


def determinize(raw: CompactLattice, beam: float, most_members: int = _MOST_MEMBERS) -> CompactLattice:
    """Determinizes a raw lattice and prunes it to ``beam``.

    Args:
        raw: a lattice without cycles, its costs as they were decoded with.
        beam: word sequences that are worse than the best by more than this are left out.
        most_members: limits the work; the beam is narrower where the limit is met.

    Returns:
        A lattice in which no state has two arcs with the same word; state 0 is its start.

    Raises:
        DataError: the lattice has a cycle.
    """
    with _no_collections():
        return _determinize(raw, beam, most_members)


def _determinize(raw: CompactLattice, beam: float, most_members: int) -> CompactLattice:
    work = _Determinizer(RawLattice(raw), beam, most_members)
    work.run()
    return work.result()


@contextmanager
def _no_collections() -> Iterator[None]:
    """While it is open, Python does not look for cycles: sets have none, and are so many that this takes long."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
