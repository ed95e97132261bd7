"""The words of a lattice with the least expected number of errors, how sure they are, and when they were said.

Source: ``MinimumBayesRisk`` in ``src/lat/sausages.cc`` of Kaldi; H. Xu, D. Povey, L. Mangu and J. Zhu, "Minimum Bayes
Risk decoding and system combination based on a recursion for edit distance", 2011, whose names and line numbers stand
here: an arc is compared with every position of the hypothesis, whose odd positions are gaps between words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kaldi_quant.decode.lattice_epsilons import remove_epsilons
from kaldi_quant.decode.nbest import best_paths
from kaldi_quant.decode.word_alignment import WordAligner
from kaldi_quant.kaldi.lattice import CompactLattice
from kaldi_quant.kaldi.transition_model import TransitionModel
from kaldi_quant.kaldi.word_boundary import WordBoundary

# What an insertion costs more than a substitution: ``delta()`` of the source.
_DELTA = np.float64(np.float32(1e-5))
_MOST_ROUNDS = 100
#: By what Vosk multiplies graph costs.
GRAPH_SCALE = 0.9


@dataclass(frozen=True)
class Word:
    """A word that was recognised.

    Attributes:
        word: its number.
        begin, end: in frames of the network's output, from the beginning of the utterance.
        confidence: its probability at this place, 0 to 1.
    """

    word: int
    begin: float
    end: float
    confidence: float


def words_of(
    lattice: CompactLattice,
    transitions: TransitionModel,
    boundary: WordBoundary | None,
    graph_scale: float = GRAPH_SCALE,
) -> list[Word]:
    """The words of a determinized lattice, as Vosk finds them.

    Args:
        lattice: its acoustic costs scaled as they were decoded with.
        transitions: the transition model.
        boundary: where in words phones stand; None where that is not known: times are not exact then.
        graph_scale: what graph costs are multiplied by.

    Raises:
        DataError: the lattice has a cycle, or the boundary lacks a phone of the model.
    """
    scaled = scale_graph_costs(lattice, graph_scale)
    aligned = WordAligner(transitions, boundary).align(scaled) if boundary else remove_epsilons(scaled)
    return minimum_bayes_risk(aligned)


def scale_graph_costs(lattice: CompactLattice, scale: float) -> CompactLattice:
    """A lattice with other graph costs, which shares the rest."""
    factors = np.array([scale, 1], np.float32)
    return CompactLattice(
        lattice.start,
        lattice.final * factors,
        lattice.final_strings,
        lattice.arc_offsets,
        lattice.word,
        lattice.cost * factors,
        lattice.nextstate,
        lattice.strings,
    )


def minimum_bayes_risk(lattice: CompactLattice) -> list[Word]:
    """The words of a word-aligned lattice with the least expected number of errors.

    Args:
        lattice: an acyclic one; its costs are negative log-probabilities, up to a constant.

    Raises:
        DataError: the lattice has a cycle.
    """
    best = best_paths(lattice, 1)
    if not best:
        return []
    risk = _Risk(lattice)
    hypothesis = [word for word in best[0].words if word]
    words: list[Word] = []
    for _ in range(_MOST_ROUNDS + 2):
        bins = risk.bins(_with_gaps(hypothesis))
        gain = 0.0
        for bin_, word in zip(bins, _with_gaps(hypothesis), strict=True):
            gain += sum(entry.confidence for entry in bin_ if entry.word == word) - bin_[0].confidence
        words = _in_order([bin_[0] for bin_ in bins if bin_[0].word])
        hypothesis = [word.word for word in words]
        if gain == 0.0:
            break
    return words


def _with_gaps(words: list[int]) -> list[int]:
    return [0, *(label for word in words for label in (word, 0))]


def _in_order(words: list[Word]) -> list[Word]:
    """Words of which none begins before the one before it ends: the time of two that overlap is shared out."""
    done: list[Word] = []
    for word in words:
        if done and done[-1].end > word.begin:
            before = done.pop()
            left = max(done[-1].end if done else 0.0, min(before.begin, word.begin))
            right = max(before.end, word.end)
            first, second = before.end - before.begin, word.end - word.begin
            middle = left + (right - left) * first / (first + second) if first > 0 else left
            done.append(Word(before.word, left, middle, before.confidence))
            word = Word(word.word, middle, right, word.confidence)
        done.append(word)
    return done


def _log_add(one: float, other: float) -> float:
    high, low = max(one, other), min(one, other)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


class _Risk:
    """A lattice whose arcs are compared with hypotheses, those that enter states of one depth at once."""

    def __init__(self, lattice: CompactLattice) -> None:
        order = lattice.topological_order()
        counts = np.diff(lattice.arc_offsets)
        end = lattice.num_states
        finals = np.flatnonzero(np.isfinite(lattice.final.sum(axis=1)))
        cost = np.concatenate([lattice.cost, lattice.final[finals]]).astype(np.float64)
        self._source = np.concatenate([np.repeat(np.arange(end), counts), finals])
        self._target = np.concatenate([lattice.nextstate, np.full(len(finals), end, np.int32)])
        self._loglike = -cost.sum(axis=1)
        labels = np.concatenate([[0], lattice.word, np.zeros(len(finals), np.int32)])
        # The words of the lattice, 0 the first of them, and which of these each arc has.
        self._words, word = np.unique(labels, return_inverse=True)
        self._word = word[1:]
        self._start, self._end = lattice.start, end
        lengths = [len(string) for string in lattice.strings] + [len(lattice.final_strings[state]) for state in finals]
        self._measure([*order, end], np.array(lengths, np.int64))

    def _measure(self, order: list[int], lengths: np.ndarray) -> None:
        """Finds the time of each state, and of each depth the arcs that enter its states."""
        states = len(order)
        rank = np.empty(states, np.int64)
        rank[order] = np.arange(states)
        depth, time, alpha = [0] * states, [-1] * states, [-math.inf] * states
        time[self._start], alpha[self._start] = 0, 0.0
        arcs = np.argsort(rank[self._source], kind="stable")
        columns = (self._source[arcs], self._target[arcs], self._loglike[arcs], lengths[arcs])
        for source, target, loglike, length in zip(*(column.tolist() for column in columns), strict=True):
            if time[source] < 0:
                continue
            time[target] = max(time[target], time[source] + length)
            depth[target] = max(depth[target], depth[source] + 1)
            alpha[target] = _log_add(alpha[target], alpha[source] + loglike)
        self._time = np.array(time, np.float64)
        forward = np.array(alpha)
        useful = np.flatnonzero(self._time[self._source] >= 0)
        source, target = self._source[useful], self._target[useful]
        # Of each arc, the probability that one came along it to its target.
        self._share = np.zeros(len(self._source))
        self._share[useful] = np.exp(forward[source] + self._loglike[useful] - forward[target])
        entered = np.array(depth)[target]
        self._levels = [useful[entered == level] for level in np.unique(entered)]

    def bins(self, hypothesis: list[int]) -> list[list[Word]]:
        """For each position of a hypothesis, which has gaps, what may stand there, the most probable first."""
        labels = np.searchsorted(self._words, hypothesis)
        distance = self._distances(labels)
        positions, words = len(labels), len(self._words)
        gamma, begin, end = (np.zeros((positions + 1, words)) for _ in range(3))
        beta = np.zeros_like(distance)
        beta[self._end, positions] = 1.0
        for arcs in reversed(self._levels):
            choice, _ = self._compare(arcs, distance, labels)
            source, target, word = self._source[arcs], self._target[arcs], self._word[arcs]
            flow = self._share[arcs, None] * beta[target]
            for position in range(positions, 0, -1):
                here, chosen = flow[:, position], choice[:, position]
                taken, skipped = chosen == 1, chosen == 3
                amount = here[taken]
                np.add.at(beta, (source[taken], position - 1), amount)
                np.add.at(gamma[position], word[taken], amount)
                np.add.at(begin[position], word[taken], amount * self._time[source[taken]])
                np.add.at(end[position], word[taken], amount * self._time[target[taken]])
                inserted = chosen == 2
                np.add.at(beta, (source[inserted], position), here[inserted])
                flow[skipped, position - 1] += here[skipped]
                gamma[position, 0] += here[skipped].sum()
                times = (here[skipped] * self._time[target[skipped]]).sum()
                begin[position, 0] += times
                end[position, 0] += times
            np.add.at(beta, (source, 0), flow[:, 0])
        # What is left at the start was skipped before anything was said, at time 0.
        gamma[1:, 0] += np.cumsum(beta[self._start, :0:-1])[::-1]
        return [self._bin(gamma[position], begin[position], end[position]) for position in range(1, positions + 1)]

    def _bin(self, gamma: np.ndarray, begin: np.ndarray, end: np.ndarray) -> list[Word]:
        found = [
            Word(
                int(self._words[word]),
                begin[word] / gamma[word],
                end[word] / gamma[word],
                np.float32(gamma[word]).item(),
            )
            for word in np.flatnonzero(gamma).tolist()
        ]
        return sorted(found, key=lambda word: (word.confidence, word.word), reverse=True)

    def _distances(self, labels: np.ndarray) -> np.ndarray:
        """(states, positions + 1): the expected edit distance of what leads to a state from the first positions."""
        distance = np.zeros((self._end + 1, len(labels) + 1))
        distance[self._start, 1:] = np.cumsum(labels != 0)
        for arcs in self._levels:
            _, along = self._compare(arcs, distance, labels)
            np.add.at(distance, self._target[arcs], self._share[arcs, None] * along)
        return distance

    def _compare(self, arcs: np.ndarray, distance: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What arcs make of the distances at their sources.

        Returns:
            (arcs, positions + 1): what is best at each position, 1: the arc stands there, 2: it is inserted before it,
            3: nothing stands there; and the distances.
        """
        before, word = distance[self._source[arcs]], self._word[arcs]
        stands = before[:, :-1] + (word[:, None] != labels)
        inserted = before + np.where(word == 0, 0.0, 1.0 + _DELTA)[:, None]
        skip = (labels != 0).astype(np.float64)
        choice, along = np.full(before.shape, 2), inserted
        for position in range(1, before.shape[1]):
            one, two = stands[:, position - 1], inserted[:, position]
            three = along[:, position - 1] + skip[position - 1]
            best = np.minimum(np.minimum(one, two), three)
            choice[:, position] = np.where(best == one, 1, np.where(best == two, 2, 3))
            along[:, position] = best
        return choice, along
