"""Best paths of a lattice for many language-model weights and word insertion penalties at once.

At (LMWT, WIP) an arc costs graph + WIP (where it has a word) + acoustic / LMWT, as after ``lattice-scale
--inv-acoustic-scale=LMWT`` and ``lattice-add-penalty --word-ins-penalty=WIP``.
"""

from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.lattice import CompactLattice

Words = tuple[int, ...]


@dataclass(frozen=True)
class SweepPoint:
    """One point of the sweep.

    Args:
        lm_weight: LMWT, what acoustic costs are divided by.
        penalty: WIP as the user wrote it, such as ``"0.5"``: it becomes part of file names.
    """

    lm_weight: int
    penalty: str


def best_paths(lattice: CompactLattice, points: list[SweepPoint]) -> list[Words]:
    """The words of the best path at every point.

    Args:
        lattice: without cycles; its acoustic costs as ``lat.JOB.gz`` holds them.
        points: (K,).

    Returns:
        For each point the word-ids, without epsilon.

    Raises:
        DataError: the lattice is empty, has a cycle, or no path to a final state.
    """
    if not lattice.num_states:
        raise DataError("the lattice is empty")
    inverse = np.array([1.0 / point.lm_weight for point in points])
    penalties = np.array([float(point.penalty) for point in points])
    cost = lattice.cost.astype(np.float64)
    arc_costs = cost[:, :1] + cost[:, 1:] * inverse + (lattice.word != 0)[:, None] * penalties
    best, choice = _search_backward(lattice, arc_costs, inverse)
    if not np.all(np.isfinite(best[lattice.start])):
        raise DataError("the lattice has no path to a final state")
    return _trace(lattice, choice)


def _search_backward(
    lattice: CompactLattice, arc_costs: np.ndarray, inverse: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best cost from each state to the end, (S, K), and the arc to take there, (S, K), -1 for ending."""
    final = lattice.final.astype(np.float64)
    infinite = np.isinf(final).any(axis=1)
    final[infinite] = 0.0
    best = final[:, :1] + final[:, 1:] * inverse
    best[infinite] = np.inf
    choice = np.full(best.shape, -1, np.int64)
    offsets = lattice.arc_offsets.tolist()
    columns = np.arange(best.shape[1])
    for state in reversed(lattice.topological_order()):
        begin, end = offsets[state], offsets[state + 1]
        if begin == end:
            continue
        totals = arc_costs[begin:end] + best[lattice.nextstate[begin:end]]
        arc = totals.argmin(axis=0)
        total = totals[arc, columns]
        better = total < best[state]
        best[state, better] = total[better]
        choice[state, better] = begin + arc[better]
    return best, choice


def _trace(lattice: CompactLattice, choice: np.ndarray) -> list[Words]:
    """Follows the choices from the start state, for all points together."""
    columns = np.arange(choice.shape[1])
    state = np.full(choice.shape[1], lattice.start, np.int64)
    steps = []
    while True:
        arc = choice[state, columns]
        going = arc >= 0
        if not going.any():
            break
        steps.append(np.where(going, lattice.word[arc], 0))
        state = np.where(going, lattice.nextstate[arc], state)
    words = np.array(steps, np.int32).reshape(len(steps), len(columns))
    return [tuple(column[column != 0].tolist()) for column in words.T]
