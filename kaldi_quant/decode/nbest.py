"""The best paths of a lattice."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

from kaldi_quant.kaldi.lattice import CompactLattice

# In the place of a state: the path has ended.
_ENDED = -1
# The last arc, or -1 - the state in which the path ends, and what comes before.
_Way = tuple[int, "_Way | None"]
# The least cost of a path that begins so, a number so that nothing else is compared, the cost so far, the state and
# the arcs.
_Beginning = tuple[float, int, float, int, "_Way | None"]


@dataclass(frozen=True)
class Path:
    """A path through a lattice.

    Attributes:
        words: one for each arc, 0 where an arc has none.
        strings: the transition-ids of each arc, and those of ending.
        graph, acoustic: its costs.
    """

    words: list[int]
    strings: list[np.ndarray]
    graph: float
    acoustic: float

    @property
    def cost(self) -> float:
        """Both costs."""
        return self.graph + self.acoustic


def best_paths(lattice: CompactLattice, number: int) -> list[Path]:
    """The best paths, the best first; fewer where there are not so many.

    The cost of the best way to the end is known for each state, so that a queue of beginnings, those first that can end
    at the least cost, gives paths in their order (A* search).

    Args:
        lattice: an acyclic one. Where it is determinized, each path has words of its own.
        number: of paths, at most.

    Raises:
        DataError: the lattice has a cycle.
    """
    if lattice.start < 0:
        return []
    final, cost = lattice.final.astype(np.float64), lattice.cost.astype(np.float64)
    offsets, targets = lattice.arc_offsets.tolist(), lattice.nextstate.tolist()
    to_end = final.sum(axis=1)
    onward = cost.sum(axis=1)
    for state in reversed(lattice.topological_order()):
        begin, end = offsets[state], offsets[state + 1]
        if end > begin:
            onward[begin:end] += to_end[lattice.nextstate[begin:end]]
            to_end[state] = min(to_end[state], onward[begin:end].min())
    ways: list[list[tuple[float, float, int, int]]] = []
    for state in range(lattice.num_states):
        arcs = range(offsets[state], offsets[state + 1])
        own = [(float(onward[arc]), float(cost[arc].sum()), targets[arc], arc) for arc in arcs]
        ending = float(final[state].sum())
        ways.append([way for way in [*own, (ending, ending, _ENDED, -1 - state)] if way[0] < np.inf])
    queue: list[_Beginning] = [(0.0, 0, 0.0, lattice.start, None)]
    found: list[Path] = []
    count = 0
    while queue and len(found) < number:
        _, _, so_far, state, arcs_so_far = heappop(queue)
        if state == _ENDED:
            found.append(_path(lattice, arcs_so_far))
            continue
        for least, step, target, arc in ways[state]:
            count += 1
            heappush(queue, (so_far + least, count, so_far + step, target, (arc, arcs_so_far)))
    return found


def _path(lattice: CompactLattice, way: _Way | None) -> Path:
    """The path of a chain of arcs, the last of which says in which state it ends."""
    assert way is not None
    ending, before = way
    state = -1 - ending
    arcs: list[int] = []
    while before is not None:
        arc, before = before
        arcs.append(arc)
    arcs.reverse()
    graph, acoustic = (lattice.cost[arcs].sum(axis=0, dtype=np.float64) + lattice.final[state]).tolist()
    strings = [*(lattice.strings[arc] for arc in arcs), lattice.final_strings[state]]
    return Path(lattice.word[arcs].tolist(), strings, graph, acoustic)
