"""The properties that OpenFST writes into an FST's header: what is known of its labels, weights and shape.

Of every pair of bits, such as "is an acceptor" and "is no acceptor", one is set.
Source: ``properties.h`` and ``ComputeProperties`` in ``compute-properties.h`` of OpenFST.
"""

import numpy as np

from kaldi_quant.kaldi.fst import Fst

EXPANDED = 0x1
MUTABLE = 0x2
# The lower of each pair of bits; the other one, which is twice as large, says the opposite.
ACCEPTOR = 1 << 16
_INPUT_DETERMINISTIC = 1 << 18
_OUTPUT_DETERMINISTIC = 1 << 20
_EPSILONS = 1 << 22
_INPUT_EPSILONS = 1 << 24
_OUTPUT_EPSILONS = 1 << 26
_INPUT_SORTED = 1 << 28
_OUTPUT_SORTED = 1 << 30
_WEIGHTED = 1 << 32
_CYCLIC = 1 << 34
_INITIAL_CYCLIC = 1 << 36
_TOP_SORTED = 1 << 38
_ACCESSIBLE = 1 << 40
_COACCESSIBLE = 1 << 42
_STRING = 1 << 44
_WEIGHTED_CYCLES = 1 << 46


def compute_properties(fst: Fst) -> int:
    """The bits of all properties of an FST, but those that say how it is stored (EXPANDED, MUTABLE)."""
    ilabel, olabel, source = fst.ilabel, fst.olabel, fst.source
    weighted = (fst.weight != 0) & ~np.isinf(fst.weight)
    top_sorted = bool(np.all(fst.nextstate > source))
    component = np.arange(fst.num_states) if top_sorted else strong_components(fst)
    in_cycle = component[source] == component[fst.nextstate]
    is_final = fst.final != np.inf
    start_cyclic = bool(np.any(in_cycle & (component[source] == component[fst.start])))
    facts = {
        ACCEPTOR: np.all(ilabel == olabel),
        _INPUT_DETERMINISTIC: _deterministic(source, ilabel),
        _OUTPUT_DETERMINISTIC: _deterministic(source, olabel),
        _EPSILONS: np.any((ilabel == 0) & (olabel == 0)),
        _INPUT_EPSILONS: np.any(ilabel == 0),
        _OUTPUT_EPSILONS: np.any(olabel == 0),
        _INPUT_SORTED: _sorted(source, ilabel),
        _OUTPUT_SORTED: _sorted(source, olabel),
        _WEIGHTED: np.any(weighted) or np.any(is_final & (fst.final != 0)),
        _CYCLIC: np.any(in_cycle),
        _INITIAL_CYCLIC: start_cyclic,
        _TOP_SORTED: top_sorted,
        _ACCESSIBLE: _reached(fst.num_states, source, fst.nextstate, np.array([fst.start])).all(),
        _COACCESSIBLE: _reached(fst.num_states, fst.nextstate, source, np.flatnonzero(is_final)).all(),
        _STRING: _is_string(fst, is_final),
        _WEIGHTED_CYCLES: np.any(in_cycle & (fst.weight != 0)),
    }
    return sum(bit if fact else 2 * bit for bit, fact in facts.items())


def _deterministic(source: np.ndarray, label: np.ndarray) -> bool:
    keys = source.astype(np.int64) << 32 | label
    return len(np.unique(keys)) == len(keys)


def _sorted(source: np.ndarray, label: np.ndarray) -> bool:
    return bool(np.all((label[1:] >= label[:-1]) | (source[1:] != source[:-1])))


def _is_string(fst: Fst, is_final: np.ndarray) -> bool:
    """Whether the FST is one path through its states in their order."""
    order = np.arange(fst.num_states - 1)
    return fst.start == 0 and bool(
        np.array_equal(fst.source, order)
        and np.array_equal(fst.nextstate, order + 1)
        and is_final.sum() == 1
        and is_final[-1]
    )


def _reached(num_states: int, source: np.ndarray, target: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """Which states can be reached from ``begin``: (num_states,) bool."""
    neighbours = _Neighbours(num_states, source, target)
    seen = np.zeros(num_states, bool)
    seen[begin] = True
    pending = begin
    while len(pending):
        found = neighbours.of(pending)
        pending = np.unique(found[~seen[found]])
        seen[pending] = True
    return seen


class _Neighbours:
    """The targets of each state's arcs."""

    def __init__(self, num_states: int, source: np.ndarray, target: np.ndarray) -> None:
        self.targets = target[np.argsort(source, kind="stable")]
        self.offsets = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=num_states))])

    def of(self, states: np.ndarray) -> np.ndarray:
        """The targets of all arcs of some states."""
        counts = self.offsets[states + 1] - self.offsets[states]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return self.targets[np.repeat(self.offsets[states], counts) + within]


def strong_components(fst: Fst) -> np.ndarray:
    """For each state a number that it shares with those states that it reaches and that reach it: (states,) int64.

    Source: R. Tarjan, "Depth-first search and linear graph algorithms", 1972.
    """
    targets, offsets = fst.nextstate.tolist(), fst.arc_offsets.tolist()
    number = [-1] * fst.num_states
    lowest = [0] * fst.num_states
    component = np.full(fst.num_states, -1, np.int64)
    place = [0] * fst.num_states
    stack: list[int] = []
    found = 0

    def enter(state: int) -> None:
        nonlocal found
        number[state] = lowest[state] = found
        found += 1
        place[state] = len(stack)
        stack.append(state)

    for root in range(fst.num_states):
        if number[root] >= 0:
            continue
        enter(root)
        path = [(root, offsets[root])]
        while path:
            state, arc = path.pop()
            if arc < offsets[state + 1]:
                path.append((state, arc + 1))
                target = targets[arc]
                if number[target] < 0:
                    enter(target)
                    path.append((target, offsets[target]))
                elif component[target] < 0:
                    lowest[state] = min(lowest[state], number[target])
                continue
            if lowest[state] == number[state]:
                component[stack[place[state] :]] = state
                del stack[place[state] :]
            if path:
                parent = path[-1][0]
                lowest[parent] = min(lowest[parent], lowest[state])
    return component
