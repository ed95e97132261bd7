"""Composition of a look-ahead graph, ``HCLr.fst`` with ``Gr.fst``, into one decoding graph, once.

A pair of states is only made where the grammar can take one of the words that the lexicon can still say, or both can
end, so that the result has about the size of a graph that was built as a whole. What the best of these words will cost
at least is paid as soon as it is known, as in look-ahead composition, and taken back where the word comes.

Source: ``lookahead-filter.h`` and ``label-reachable.h`` of OpenFST; "A Generalized Composition Algorithm
for Weighted Finite-State Transducers" (Allauzen, Riley and Schalkwyk, Interspeech 2009);
``utils/mkgraph_lookahead.sh`` of Kaldi.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.fst import ARC, Fst

#: 16 bytes each in the graph, and about ten times as much while it is made.
MOST_ARCS = 200_000_000
# States whose arcs are made at once.
_STATES_AT_ONCE = 1 << 16
_INFINITE = np.float32(np.inf)
_UNKNOWN = -2
_NOTHING = "the look-ahead graph and its grammar have no sentence in common"


def compose_lookahead(lexicon: Fst, grammar: Fst, disambig: Sequence[int], most_arcs: int = MOST_ARCS) -> Fst:
    """Composes a look-ahead graph.

    Args:
        lexicon: ``HCLr.fst``: transition-ids to words that are numbered as the grammar's input.
        grammar: ``Gr.fst``.
        disambig: input labels of the lexicon that stand for nothing, of ``disambig_tid.int``.
        most_arcs: of the result.

    Returns:
        The graph, without states that lead nowhere.

    Raises:
        DataError: nothing can be said, or the graph gets too large.
    """
    work = _Composition(lexicon, grammar, most_arcs)
    work.run()
    return work.result(disambig)


class _Words:
    """What words each state of a lexicon can say next, as runs of numbers, and whether it can end before any.

    Attributes:
        offsets: (states + 1,) int64: the runs of state s are those from offsets[s] on.
        begin, end: (runs,) int64: of the numbers, the end not included.
        ends: (states,) bool.
    """

    def __init__(self, lexicon: Fst) -> None:
        states, source = lexicon.num_states, lexicon.source
        silent = lexicon.olabel == 0
        # States that silent cycles go through can say the same.
        links = csr_array((np.ones(silent.sum(), bool), (source[silent], lexicon.nextstate[silent])), (states, states))
        number, group = connected_components(links, connection="strong")
        own: list[set[int]] = [set() for _ in range(number)]
        for at, label in zip(group[source[~silent]].tolist(), lexicon.olabel[~silent].tolist(), strict=True):
            own[at].add(label)
        ends = np.zeros(number, bool)
        np.logical_or.at(ends, group, np.isfinite(lexicon.final))
        first, second = group[source[silent]], group[lexicon.nextstate[silent]]
        edges = np.unique(np.stack([first, second])[:, first != second], axis=1)
        runs = self._spread(number, edges, own, ends)
        flat = [runs[at] for at in group.tolist()]
        self.offsets = np.cumsum([0] + [len(some) for some in flat])
        pairs = np.array([pair for some in flat for pair in some], np.int64).reshape(-1, 2)
        self.begin, self.end = pairs[:, 0], pairs[:, 1]
        self.ends = ends[group]

    @staticmethod
    def _spread(number: int, edges: np.ndarray, own: list[set[int]], ends: np.ndarray) -> list[list[tuple[int, int]]]:
        """The runs of each group of states, from those on that no silent arc leaves."""
        onward: list[list[int]] = [[] for _ in range(number)]
        back: list[list[int]] = [[] for _ in range(number)]
        for source, target in edges.T.tolist():
            onward[source].append(target)
            back[target].append(source)
        waits = [len(targets) for targets in onward]
        ready = [at for at in range(number) if not waits[at]]
        runs: list[list[tuple[int, int]]] = [[] for _ in range(number)]
        while ready:
            at = ready.pop()
            targets = onward[at]
            ends[at] |= any(ends[target] for target in targets)
            if len(targets) == 1 and not own[at]:
                runs[at] = runs[targets[0]]
            else:
                runs[at] = _joined([(label, label + 1) for label in own[at]], *(runs[target] for target in targets))
            for source in back[at]:
                waits[source] -= 1
                if not waits[source]:
                    ready.append(source)
        return runs


def _joined(*parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Runs of numbers in order, those that touch as one."""
    found: list[tuple[int, int]] = []
    for begin, end in sorted(run for part in parts for run in part):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return found


class _Grammar:
    """The arcs of a grammar by state and word, and the least cost of any run of words."""

    def __init__(self, grammar: Fst, most: int) -> None:
        self.width = most + 1
        source, takes = grammar.source.astype(np.int64), grammar.ilabel != 0
        keys = source * self.width + grammar.ilabel
        order = np.flatnonzero(takes)[np.argsort(keys[takes], kind="stable")]
        self.key, self.arcs = keys[order], grammar.arcs[order]
        self.final = grammar.final
        silent = grammar.arcs[~takes]
        counts = np.bincount(source[~takes], minlength=grammar.num_states)
        self.silent, self.silent_offsets = silent, np.concatenate([[0], np.cumsum(counts)])
        #: Of each state, the least cost of an arc that takes no word.
        self.least_silent = np.full(grammar.num_states, _INFINITE)
        np.minimum.at(self.least_silent, source[~takes], silent["weight"])
        # Of each arc on the least cost of 1, 2, 4, … arcs.
        self._least = [np.ascontiguousarray(self.arcs["weight"])]
        longest = int(np.bincount(source, minlength=1).max(initial=0))
        while 2 << (len(self._least) - 1) <= longest:
            half = 1 << (len(self._least) - 1)
            last = self._least[-1]
            self._least.append(np.minimum(last[:-half], last[half:]))

    def least(self, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        """The least cost of each run of arcs, infinite where it is empty."""
        found = np.full(len(begin), _INFINITE)
        length = end - begin
        level = np.zeros(len(length), np.int64)
        some = length > 0
        level[some] = np.log2(length[some]).astype(np.int64)
        for at in np.unique(level[some]).tolist():
            here = np.flatnonzero(some & (level == at))
            table = self._least[at]
            found[here] = np.minimum(table[begin[here]], table[end[here] - (1 << at)])
        return found


class _Composition:
    """The states that were found, in the order in which they are, and their arcs.

    A state is one of the lexicon with one of the grammar, and the word that was said ahead of the lexicon, if there is
    one: where only one word can come, the grammar takes it at once, so that what led there is forgotten early.
    """

    def __init__(self, lexicon: Fst, grammar: Fst, most_arcs: int) -> None:
        self._lexicon, self._most_arcs, self._count = lexicon, most_arcs, 0
        self._words = _Words(lexicon)
        most = max(int(lexicon.olabel.max(initial=0)), int(grammar.ilabel.max(initial=0)))
        self._grammar = _Grammar(grammar, most)
        self._states = grammar.num_states
        if lexicon.num_states * self._states * self._grammar.width > np.iinfo(np.int64).max:
            raise DataError("the look-ahead graph and its grammar are too large to be composed")
        # The number of each state; -1 for those that lead nowhere.
        self._numbers: dict[int, int] = {}
        # Of each pair of states the only arc of the grammar that can come next; -1 where there are others.
        self._only: dict[int, int] = {}
        self._found: list[np.ndarray] = []
        self._ahead: list[np.ndarray] = []
        self._sources: list[np.ndarray] = []
        self._arcs: list[np.ndarray] = []
        self._numbered(self._key(np.array([lexicon.start]), np.array([grammar.start]), np.array([0])))
        if not self._found:
            raise DataError(_NOTHING)

    def _key(self, of_lexicon: np.ndarray, of_grammar: np.ndarray, word: np.ndarray) -> np.ndarray:
        return (of_lexicon.astype(np.int64) * self._states + of_grammar) * self._grammar.width + word

    def _parts(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        pairs, word = np.divmod(keys, self._grammar.width)
        return (*np.divmod(pairs, self._states), word)

    def run(self) -> None:
        """Makes all states that the first one leads to."""
        done = first = 0
        while done < len(self._found):
            keys = self._found[done]
            done += 1
            for begin in range(0, len(keys), _STATES_AT_ONCE):
                self._leave(keys[begin : begin + _STATES_AT_ONCE], first + begin)
            first += len(keys)

    def _leave(self, keys: np.ndarray, first: int) -> None:
        """Makes the arcs of some states, which are numbered from ``first`` on."""
        of_lexicon, of_grammar, ahead = self._parts(keys)
        lexicon, grammar = self._lexicon, self._grammar
        arcs, at = _leaving(lexicon.arc_offsets, of_lexicon)
        taken = lexicon.arcs[arcs]
        word, said = taken["olabel"].copy(), ahead[at]
        taken["olabel"] = 0
        silent, fulfils = word == 0, (word == said) & (word != 0)
        # Nothing is said, or what was said ahead.
        quiet = silent | fulfils
        parts = [
            (at[quiet], taken[quiet], taken["nextstate"][quiet], of_grammar[at[quiet]], (said * ~fulfils)[quiet]),
        ]
        says = (word != 0) & (said == 0)
        at, taken, word = at[says], taken[says], word[says]
        key = of_grammar[at] * np.int64(grammar.width) + word
        begin, end = (np.searchsorted(grammar.key, key, side) for side in ("left", "right"))
        matches, which = _ranges(begin, end - begin)
        made, to = taken[which], taken["nextstate"][which]
        made["olabel"] = grammar.arcs["olabel"][matches]
        made["weight"] += grammar.arcs["weight"][matches]
        parts.append((at[which], made, to, grammar.arcs["nextstate"][matches], np.zeros(len(to), np.int64)))
        free = np.flatnonzero(ahead == 0)
        backing, which = _leaving(grammar.silent_offsets, of_grammar[free])
        moved, which = grammar.silent[backing], free[which]
        parts.append((which, moved, of_lexicon[which], moved["nextstate"].copy(), np.zeros(len(which), np.int64)))
        source, made, to, of_grammar, word = (np.concatenate(part) for part in zip(*parts, strict=True))
        self._say_ahead(made, to, of_grammar, word)
        number = self._numbered(self._key(to, of_grammar, word))
        kept = np.flatnonzero(number >= 0)
        made = made[kept]
        made["nextstate"] = number[kept]
        self._count += len(made)
        if self._count > self._most_arcs:
            raise DataError(f"the composed graph has more than {self._most_arcs} arcs")
        self._sources.append((source[kept] + first).astype(np.int32))
        self._arcs.append(made)

    def _say_ahead(self, made: np.ndarray, to: np.ndarray, of_grammar: np.ndarray, word: np.ndarray) -> None:
        """Lets arcs that say nothing say the only word that can come where they lead; changes all in place."""
        able = np.flatnonzero((made["olabel"] == 0) & (word == 0))
        pairs, place = np.unique(to[able].astype(np.int64) * self._states + of_grammar[able], return_inverse=True)
        only, new = _known(self._only, pairs)
        only[new] = self._only_arcs(*np.divmod(pairs[new], self._states))
        self._only.update(zip(pairs[new].tolist(), only[new].tolist(), strict=True))
        arc = only[place]
        able, arc = able[arc >= 0], arc[arc >= 0]
        taken = self._grammar.arcs[arc]
        made["olabel"][able] = taken["olabel"]
        made["weight"][able] += taken["weight"]
        of_grammar[able], word[able] = taken["nextstate"], taken["ilabel"]

    def _next(self, of_lexicon: np.ndarray, of_grammar: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The runs of the grammar's arcs that can come next, from and to, and the place of the pair of each."""
        words, grammar = self._words, self._grammar
        runs, which = _leaving(words.offsets, of_lexicon)
        base = of_grammar[which] * np.int64(grammar.width)
        begin, end = (np.searchsorted(grammar.key, base + edge[runs]) for edge in (words.begin, words.end))
        return begin, end, which

    def _only_arcs(self, of_lexicon: np.ndarray, of_grammar: np.ndarray) -> np.ndarray:
        begin, end, which = self._next(of_lexicon, of_grammar)
        count, place = np.zeros((2, len(of_lexicon)), np.int64)
        np.add.at(count, which, end - begin)
        np.add.at(place, which, begin * (end > begin))
        others = self._words.ends[of_lexicon] & np.isfinite(self._grammar.final[of_grammar])
        others |= np.isfinite(self._grammar.least_silent[of_grammar])
        return np.where((count == 1) & ~others, place, -1)

    def _numbered(self, keys: np.ndarray) -> np.ndarray:
        """The numbers of states; new ones get theirs."""
        different, place = np.unique(keys, return_inverse=True)
        numbers, new = _known(self._numbers, different)
        ahead = self._least_ahead(different[new])
        leads = np.isfinite(ahead)
        first = sum(map(len, self._found)) if len(new) else 0
        numbers[new] = np.where(leads, first - 1 + np.cumsum(leads), -1)
        self._numbers.update(zip(different[new].tolist(), numbers[new].tolist(), strict=True))
        if leads.any():
            self._found.append(different[new][leads])
            self._ahead.append(ahead[leads])
        return numbers[place]

    def _least_ahead(self, keys: np.ndarray) -> np.ndarray:
        """What comes next costs at least so much in the grammar; infinite where nothing can come."""
        of_lexicon, of_grammar, word = self._parts(keys)
        words, grammar = self._words, self._grammar
        begin, end, which = self._next(of_lexicon, of_grammar)
        least = np.full(len(keys), _INFINITE)
        np.minimum.at(least, which, grammar.least(begin, end))
        least = np.minimum(least, grammar.least_silent[of_grammar])
        ending = words.ends[of_lexicon]
        least[ending] = np.minimum(least[ending], grammar.final[of_grammar[ending]])
        # Of a word that was said ahead the cost is paid, and the lexicon must still come to it.
        runs, which = _leaving(words.offsets, of_lexicon)
        can_say = np.zeros(len(keys), bool)
        np.logical_or.at(can_say, which, (words.begin[runs] <= word[which]) & (word[which] < words.end[runs]))
        return np.where(word == 0, least, np.where(can_say, np.float32(0), _INFINITE))

    def result(self, disambig: Sequence[int]) -> Fst:
        """The graph of all states that lead to an end."""
        keys, ahead = np.concatenate(self._found), np.concatenate(self._ahead)
        # The first one owes nothing.
        ahead[0] = 0.0
        source, arcs = np.concatenate(self._sources), np.concatenate(self._arcs)
        arcs["weight"] += ahead[arcs["nextstate"]] - ahead[source]
        arcs["ilabel"][np.isin(arcs["ilabel"], np.array(disambig, np.int32))] = 0
        of_lexicon, of_grammar, word = self._parts(keys)
        final = self._lexicon.final[of_lexicon] + self._grammar.final[of_grammar] - ahead
        return _without_dead_ends(source, arcs, np.where(word == 0, final, _INFINITE).astype(np.float32))


def _without_dead_ends(source: np.ndarray, arcs: np.ndarray, final: np.ndarray) -> Fst:
    """The states from which an end can be reached; the start is the first."""
    states, ending = len(final), np.flatnonzero(np.isfinite(final))
    rows = np.concatenate([arcs["nextstate"], np.full(len(ending), states)])
    columns = np.concatenate([source, ending])
    back = csr_array((np.ones(len(rows), bool), (rows, columns)), (states + 1, states + 1))
    lives = np.zeros(states + 1, bool)
    lives[breadth_first_order(back, states, return_predecessors=False)] = True
    lives = lives[:states]
    if not lives[0]:
        raise DataError(_NOTHING)
    number = np.cumsum(lives) - 1
    kept = np.flatnonzero(lives[source] & lives[arcs["nextstate"]])
    order = kept[np.argsort(source[kept], kind="stable")]
    counts = np.bincount(number[source[order]], minlength=int(lives.sum()))
    found = arcs[order].astype(ARC)
    found["nextstate"] = number[found["nextstate"]]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    return Fst("const", 0, final[lives], offsets, found)


def _known(values: dict[int, int], keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values of keys, and the places of those that have none yet."""
    found = np.array([values.get(key, _UNKNOWN) for key in keys.tolist()], np.int64)
    return found, np.flatnonzero(found == _UNKNOWN)


def _leaving(offsets: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What belongs to some states, and the place of its state among these."""
    return _ranges(offsets[states], offsets[states + 1] - offsets[states])


def _ranges(begin: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of ranges one behind the other, and for each the place of its range."""
    which = np.repeat(np.arange(len(begin)), count)
    within = np.arange(len(which)) - (np.cumsum(count) - count)[which]
    return begin[which] + within, which
