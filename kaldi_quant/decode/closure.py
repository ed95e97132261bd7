"""What raw states lead to without a word: the closure of a set in the determinization of lattices."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from kaldi_quant.decode.raw_lattice import INFINITE, RawLattice

# The total cost, the graph cost and the string of a raw state, and the state: the order is that of LatticeWeight.
# Sums of costs in single precision are exact in double precision: the acoustic cost is what remains of the total.
Member = tuple[float, float, str, int]


class Closure:
    """Adds to sets of raw states what arcs without words lead to; each raw state keeps its best weight.

    Args:
        raw: the lattice.
        beam: ways that are worse than the set's best by more than this are left out.
    """

    def __init__(self, raw: RawLattice, beam: float) -> None:
        self._raw, self._beam = raw, beam
        states = len(raw.backward)
        # Of each raw state while a set is at work, infinite where it is not in it: the costs and the string; by which
        # arc its best way came; by which it was reached first.
        self._total, self._graph, self._string = [INFINITE] * states, [INFINITE] * states, [""] * states
        self._arc, self._first = [-1] * states, [-1] * states

    def of(self, members: list[Member]) -> tuple[list[Member], int]:
        """The closure of a set.

        Returns:
            Its states that end or that a word leaves, those of the set first, then in the order in which they are
            reached; and how many states were looked at.
        """
        totals, graphs, strings, has_use = self._total, self._graph, self._string, self._raw.has_use
        arcs, first = self._arc, self._first
        for total, graph, string, state in members:
            totals[state], graphs[state], strings[state] = total, graph, string
            arcs[state] = first[state] = -1
        added = self._spread(members)
        states = [state for *_, state in members]
        reached = sorted([(first[state], state) for state in added if has_use[state]])
        useful = [state for state in states if has_use[state]] + [state for _, state in reached]
        closed = [(totals[state], graphs[state], strings[state], state) for state in useful]
        for state in states + added:
            totals[state] = INFINITE
        return closed, len(members) + len(added)

    def _spread(self, members: list[Member]) -> list[int]:
        """Finds the best way to each state that is reached; returns the states that are new."""
        backward, epsilons, strings = self._raw.backward, self._raw.epsilons, self._string
        totals, graphs, arcs, first = self._total, self._graph, self._arc, self._first
        worst = min([total + backward[state] for total, _, _, state in members]) + self._beam
        added: list[int] = []
        queue = [state for *_, state in members if epsilons[state]]
        heapify(queue)
        while queue:
            state = heappop(queue)
            total, graph, string = totals[state], graphs[state], strings[state]
            for target, way_total, way_graph, bound, number, labels in epsilons[state]:
                if total + bound > worst:
                    break
                new, known = total + way_total, totals[target]
                if new < known:
                    if known == INFINITE:
                        first[target] = number
                        added.append(target)
                        if epsilons[target]:
                            heappush(queue, target)
                    elif number < first[target]:
                        first[target] = number
                    totals[target], graphs[target], strings[target] = new, graph + way_graph, string + labels
                    arcs[target] = number
                else:
                    first[target] = min(first[target], number)
                    if new == known and (graph + way_graph, number) < (graphs[target], arcs[target]):
                        graphs[target], strings[target], arcs[target] = graph + way_graph, string + labels, number
        return added
