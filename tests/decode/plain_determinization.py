"""Determinization as it is defined, step by step: slow, and to the byte what ``determinize`` gives."""

import heapq
import itertools

import numpy as np

from kaldi_quant.kaldi.lattice import CompactLattice, assemble

DELTA = 1.0 / 1024

# Total, graph and acoustic cost, and the transition-ids.
Weight = tuple[float, float, float, tuple[int, ...]]
Subset = dict[int, Weight]


class Plain:
    """All that belongs to one lattice."""

    def __init__(self, raw: CompactLattice, beam: float) -> None:
        self.raw, self.order = raw, raw.topological_order()
        self.final = [tuple(final) for final in raw.final.tolist()]
        self.backward = [graph + acoustic for graph, acoustic in self.final]
        for state in reversed(self.order):
            for _, target, graph, acoustic, _ in self.arcs(state):
                self.backward[state] = min(self.backward[state], graph + acoustic + self.backward[target])
        self.cutoff = self.backward[raw.start] + beam
        self.subsets: list[Subset] = []
        self.forward: list[float] = []
        self.made: list[list[tuple[int, int, Weight]]] = []
        self.tasks: list[tuple[float, int, int, int, Subset]] = []
        self.before: list[tuple[Subset, tuple[int, Weight]]] = []
        self.after: list[tuple[Subset, int]] = []
        self.numbers = itertools.count()

    def arcs(self, state: int) -> list[tuple[int, int, float, float, tuple[int, ...]]]:
        raw = self.raw
        return [
            (int(raw.word[a]), int(raw.nextstate[a]), *raw.cost[a].tolist(), tuple(raw.strings[a].tolist()))
            for a in range(raw.arc_offsets[state], raw.arc_offsets[state + 1])
        ]

    def run(self) -> CompactLattice:
        self.add_state(self.useful(self.close({self.raw.start: (0.0, 0.0, 0.0, ())}, 0.0)), 0.0)
        while self.tasks:
            _, _, state, word, subset = heapq.heappop(self.tasks)
            self.made[state].append((word, *self.resolve(subset, self.forward[state])))
        return self.result()

    def resolve(self, subset: Subset, forward: float) -> tuple[int, Weight]:
        subset, first = normalized(subset)
        known = find(self.before, subset)
        if known is None:
            closed, second = normalized(self.useful(self.close(subset, forward + first[0])))
            state = find(self.after, closed)
            if state is None:
                state = self.add_state(closed, forward + first[0] + second[0])
                self.after.append((closed, state))
            known = (state, second)
            self.before.append((subset, known))
        return known[0], times(first, *known[1][1:])

    def add_state(self, subset: Subset, forward: float) -> int:
        self.subsets.append(subset)
        self.forward.append(forward)
        self.made.append([])
        by_word: dict[int, Subset] = {}
        best: dict[int, float] = {}
        for state, weight in subset.items():
            for word, target, *rest in self.arcs(state):
                reached = times(weight, *rest)
                whole = forward + reached[0] + self.backward[target]
                if word and whole <= self.cutoff:
                    keep_best(by_word.setdefault(word, {}), *self.onward(target, reached))
                    best[word] = min(best.get(word, whole), whole)
        for word, members in by_word.items():
            heapq.heappush(self.tasks, (best[word], next(self.numbers), len(self.subsets) - 1, word, members))
        return len(self.subsets) - 1

    def onward(self, state: int, weight: Weight) -> tuple[int, Weight]:
        """Where the only way without words ends, as far as it is the only one."""
        while len(self.arcs(state)) == 1 and not self.is_useful(state):
            [(_, state, *rest)] = self.arcs(state)
            weight = times(weight, *rest)
        return state, weight

    def close(self, subset: Subset, forward: float) -> Subset:
        closed = dict(subset)
        for state in self.order:
            for word, target, *rest in self.arcs(state) if state in closed else []:
                weight = times(closed[state], *rest)
                if not word and forward + weight[0] + self.backward[target] <= self.cutoff + DELTA:
                    keep_best(closed, target, weight)
        return closed

    def useful(self, subset: Subset) -> Subset:
        return {state: subset[state] for state in self.order if state in subset and self.is_useful(state)}

    def is_useful(self, state: int) -> bool:
        return any(arc[0] for arc in self.arcs(state)) or np.isfinite(self.final[state][0])

    def result(self) -> CompactLattice:
        none = (np.inf, np.inf, np.inf, ())
        ends = []
        for subset in self.subsets:
            finals = [(weight, self.final[state]) for state, weight in subset.items()]
            ends.append(min([times(weight, *end, ()) for weight, end in finals if np.isfinite(end[0])], default=none))
        arcs = [arc for some in self.made for arc in some]
        return assemble(
            0,
            [end[1:3] for end in ends],
            [np.array(end[3], np.int32) for end in ends],
            np.cumsum([0] + [len(some) for some in self.made]).tolist(),
            [word for word, _, _ in arcs],
            [weight[1:3] for _, _, weight in arcs],
            [target for _, target, _ in arcs],
            [np.array(weight[3], np.int32) for _, _, weight in arcs],
        )


def times(weight: Weight, graph: float, acoustic: float, string: tuple[int, ...]) -> Weight:
    graph, acoustic = weight[1] + graph, weight[2] + acoustic
    return (graph + acoustic, graph, acoustic, weight[3] + string)


def keep_best(subset: Subset, state: int, weight: Weight) -> None:
    total, graph, _, string = weight
    if state not in subset or (total, graph, string) < (*subset[state][:2], subset[state][3]):
        subset[state] = weight


def normalized(subset: Subset) -> tuple[Subset, Weight]:
    _, graph, acoustic, _ = min(subset.values())
    strings = [weight[3] for weight in subset.values()]
    prefix = 0
    while all(len(string) > prefix and string[prefix] == strings[0][prefix] for string in strings):
        prefix += 1
    rest = {s: times((0.0, 0.0, 0.0, ()), w[1] - graph, w[2] - acoustic, w[3][prefix:]) for s, w in subset.items()}
    return rest, (graph + acoustic, graph, acoustic, strings[0][:prefix])


def find(table: list, subset: Subset):
    for known, value in table:
        if known.keys() == subset.keys() and all(
            known[state][3] == weight[3] and abs(known[state][0] - weight[0]) <= DELTA
            for state, weight in subset.items()
        ):
            return value
    return None
