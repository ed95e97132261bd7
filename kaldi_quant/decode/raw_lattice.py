"""A raw lattice as determinization walks through it: states in topological order, arcs with and without words apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from itertools import accumulate, pairwise
from operator import itemgetter

import numpy as np

from kaldi_quant.kaldi.lattice import CompactLattice

INFINITE = float("inf")
_CODE = "utf-32-le"
_NONE = np.zeros(0, np.int32)

# A way without words: the state that it leads to; its total and its graph cost; its total cost and that of the best way
# from there to the end; its transition-ids. It has several arcs where it leads through states that only one arc without
# a word leaves.
EpsilonWay = tuple[int, float, float, float, str]
# An arc with a word, and such a way behind it: word, target, total and graph cost, total cost from here to the end,
# transition-ids.
WordArc = tuple[int, int, float, float, float, str]


_bound, _word_bound = itemgetter(3), itemgetter(4)


class RawLattice:
    """A raw lattice, its states numbered in topological order.

    Transition-ids are a ``str``, one character for each, as Python adds and compares these fast. A character is the
    number of a transition-id among those of the lattice.

    Args:
        lattice: without cycles.

    Attributes:
        start: the start state.
        final: the total and the graph cost of ending in each state; infinite where it is not final.
        backward: the cost of the best way from each state to the end.
        epsilons: the ways without words from each state, those first that lead to the end at the least cost.
        words: the arcs with words from each state, in the order of the lattice.
        least: the least cost to the end with a word next.
        has_use: whether each state ends, or a word leaves it; from the others one only goes on.

    Raises:
        DataError: the lattice has a cycle.
    """

    def __init__(self, lattice: CompactLattice) -> None:
        order = np.array(lattice.topological_order(), np.int64)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        final = lattice.final[order].astype(np.float64)
        self.start = int(rank[lattice.start])
        self.final: list[tuple[float, float]] = list(zip(final.sum(axis=1).tolist(), final[:, 0].tolist(), strict=True))
        counts = np.diff(lattice.arc_offsets)[order]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        arcs = np.repeat(lattice.arc_offsets[order] - offsets[:-1], counts) + np.arange(lattice.num_arcs)
        cost = lattice.cost[arcs].astype(np.float64)
        strings = [lattice.strings[arc] for arc in arcs.tolist()]
        self._labels, numbers = np.unique(np.concatenate([_NONE, *strings]), return_inverse=True)
        characters = numbers.astype("<u4").tobytes().decode(_CODE, "surrogatepass")
        labels = [characters[begin:end] for begin, end in _places(strings)]
        columns = (lattice.word[arcs], rank[lattice.nextstate[arcs]], cost.sum(axis=1), cost[:, 0])
        states = len(order)
        self.backward: list[float] = [total for total, _ in self.final]
        self.epsilons: list[list[EpsilonWay]] = [[] for _ in range(states)]
        self.words: list[list[WordArc]] = [[] for _ in range(states)]
        self.least: list[float] = [INFINITE] * states
        self.has_use: list[bool] = [total != INFINITE for total, _ in self.final]
        self._add_arcs(offsets.tolist(), list(zip(*(column.tolist() for column in columns), labels, strict=True)))

    def _add_arcs(self, begins: list[int], rows: list[tuple[int, int, float, float, str]]) -> None:
        """Adds the arcs of the states, from the last one on: a state's arcs lead to states that have theirs."""
        backward, all_epsilons, has_use = self.backward, self.epsilons, self.has_use
        for state in range(len(backward) - 1, -1, -1):
            epsilons, words, best = all_epsilons[state], self.words[state], backward[state]
            for word, target, total, graph, labels in rows[begins[state] : begins[state + 1]]:
                bound = total + backward[target]
                best = min(best, bound)
                if not has_use[target]:
                    onward = all_epsilons[target]
                    if len(onward) == 1:
                        [(target, rest, rest_graph, bound, others)] = onward
                        total, graph, bound, labels = total + rest, graph + rest_graph, total + bound, labels + others
                if word:
                    words.append((word, target, total, graph, bound, labels))
                else:
                    epsilons.append((target, total, graph, bound, labels))
            backward[state] = best
            if words:
                has_use[state], self.least[state] = True, min(words, key=_word_bound)[4]
            if len(epsilons) > 1:
                epsilons.sort(key=_bound)

    def transition_ids(self, strings: list[str]) -> list[np.ndarray]:
        """What strings stand for: (n,) int32 for each."""
        numbers = np.frombuffer("".join(strings).encode(_CODE, "surrogatepass"), "<u4")
        every = self._labels[numbers]
        return [every[begin:end] for begin, end in _places(strings)]


def _places(strings: Sequence[Sized]) -> Iterator[tuple[int, int]]:
    """Where each begins and ends when they are put one behind the other."""
    return pairwise([0, *accumulate(map(len, strings))])
