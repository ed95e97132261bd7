"""Lattices without arcs that carry no word.

Source: ``RmEpsilon`` of OpenFST with Kaldi's lattice weights, of which the better of two is their sum.
"""

from __future__ import annotations

import numpy as np

from kaldi_quant.kaldi.lattice import CompactLattice, assemble

# The total and the graph cost, and the transition-ids: the order of the first two is that of LatticeWeight.
Weight = tuple[float, float, tuple[int, ...]]

_NONE = np.zeros(0, np.int32)


def remove_epsilons(lattice: CompactLattice) -> CompactLattice:
    """The same lattice without arcs of word 0, and without states that lead nowhere.

    Of ways with one word to one state only the best is kept. The states are in topological order.

    Raises:
        DataError: the lattice has a cycle.
    """
    if lattice.start < 0:
        return lattice
    order = lattice.topological_order()
    ways, finals = _ways(lattice, order)
    reached = {lattice.start}
    numbers: dict[int, int] = {}
    for state in order:
        if state in reached and (ways[state] or finals[state]):
            numbers[state] = len(numbers)
            reached.update(target for _, target in ways[state])
    arcs = [(word, target, way) for state in numbers for (word, target), way in ways[state].items()]
    ends = [finals[state] or (np.inf, np.inf, ()) for state in numbers]
    return assemble(
        0 if numbers else -1,
        [(graph, total - graph if total < np.inf else np.inf) for total, graph, _ in ends],
        [_string(string) for *_, string in ends],
        np.cumsum([0] + [len(ways[state]) for state in numbers]).tolist(),
        [word for word, _, _ in arcs],
        [(graph, total - graph) for _, _, (total, graph, _) in arcs],
        [numbers[target] for _, target, _ in arcs],
        [_string(string) for *_, (_, _, string) in arcs],
    )


def _string(transition_ids: tuple[int, ...]) -> np.ndarray:
    return np.array(transition_ids, np.int32) if transition_ids else _NONE


def _ways(lattice: CompactLattice, order: list[int]) -> tuple[list[dict[tuple[int, int], Weight]], list[Weight | None]]:
    """Of each state the ways with a word, by word and target, and the best way to end; from the last state on."""
    offsets, words, targets = lattice.arc_offsets.tolist(), lattice.word.tolist(), lattice.nextstate.tolist()
    costs, final_costs = lattice.cost.tolist(), lattice.final.tolist()
    ways: list[dict[tuple[int, int], Weight]] = [{} for _ in order]
    finals: list[Weight | None] = [None for _ in order]
    for state in reversed(order):
        own = ways[state]
        graph, acoustic = final_costs[state]
        if graph + acoustic < np.inf:
            finals[state] = (graph + acoustic, graph, tuple(lattice.final_strings[state].tolist()))
        for arc in range(offsets[state], offsets[state + 1]):
            word, target, (graph, acoustic) = words[arc], targets[arc], costs[arc]
            if not ways[target] and not finals[target]:
                continue
            weight = (graph + acoustic, graph, tuple(lattice.strings[arc].tolist()))
            if word:
                _keep_best(own, (word, target), weight)
                continue
            for way, onward in ways[target].items():
                _keep_best(own, way, _product(weight, onward))
            end = finals[target]
            if end:
                through = _product(weight, end)
                finals[state] = min(finals[state] or through, through)
    return ways, finals


def _product(first: Weight, second: Weight) -> Weight:
    return (first[0] + second[0], first[1] + second[1], first[2] + second[2])


def _keep_best(ways: dict[tuple[int, int], Weight], way: tuple[int, int], weight: Weight) -> None:
    known = ways.get(way)
    if known is None or weight < known:
        ways[way] = weight
