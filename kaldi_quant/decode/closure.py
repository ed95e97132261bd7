"""What raw states lead to without a word: the closure of a set in the determinization of lattices."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from kaldi_quant.decode.raw_lattice import INFINITE, RawLattice

# The total cost, the graph cost and the string of a raw state, and the state; of several the least is the best. Sums of
# costs in single precision are exact in double precision: the acoustic cost is what remains of the total.
Member = tuple[float, float, str, int]

_ABSENT: Member = (INFINITE, INFINITE, "", -1)


class Closure:
    """Adds to sets of raw states what arcs without words lead to; each raw state keeps its best weight.

    Args:
        raw: the lattice.
    """

    def __init__(self, raw: RawLattice) -> None:
        self._raw = raw
        # Of each raw state what stands for it in the set at work.
        self._members = [_ABSENT] * len(raw.backward)

    def of(self, members: list[Member], limit: float) -> tuple[list[Member], int]:
        """The closure of a set.

        Args:
            members: the set.
            limit: arcs without words are left out where the best way through them to the end costs more than this.

        Returns:
            Its states that end or that a word leaves, in topological order, and how many states were looked at.
        """
        found, has_use = self._members, self._raw.has_use
        states = [state for *_, state in members]
        for member in members:
            found[member[3]] = member
        states += self._spread(members, limit)
        closed = [found[state] for state in sorted(states) if has_use[state]]
        for state in states:
            found[state] = _ABSENT
        return closed, len(states)

    def _spread(self, members: list[Member], limit: float) -> list[int]:
        """Finds the best way to each state that is reached; returns the states that are new."""
        epsilons, found = self._raw.epsilons, self._members
        added: list[int] = []
        queue = [state for *_, state in members if epsilons[state]]
        heapify(queue)
        while queue:
            state = heappop(queue)
            total, graph, string, _ = found[state]
            for target, way_total, way_graph, bound, labels in epsilons[state]:
                if total + bound > limit:
                    break
                new, known = total + way_total, found[target]
                if new < known[0]:
                    if known is _ABSENT:
                        added.append(target)
                        if epsilons[target]:
                            heappush(queue, target)
                    found[target] = (new, graph + way_graph, string + labels, target)
                elif new == known[0]:
                    found[target] = min(known, (new, graph + way_graph, string + labels, target))
        return added
