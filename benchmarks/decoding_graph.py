"""Decoding graphs of any size, written piece by piece, and log-likelihoods of utterances that go through them.

A graph is that of a bigram language model. Each word has a state in which it is the history; from there lead the chains
of its successors' HMM states, and an epsilon arc with a cost back to the state without a history, from which all words
lead. HMMs have the transition-ids of a real model: one to enter a state and one for the loop to itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kaldi_quant.kaldi.fst import ARC, FST_MAGIC
from kaldi_quant.kaldi.fst_file import FstPiece
from kaldi_quant.kaldi.fst_writer import const_bytes
from kaldi_quant.kaldi.transition_model import TransitionModel

_SHORTEST, _LONGEST = 3, 9  # HMM states of a word
_FAMILY, _ALIKE = 16, 8
_STRIDE = 3  # successors of a history are different words, some of one family
_MOST_WORDS = 20_000
_BYTES_PER_WORD = 10_000
_PAIRS = 1 << 15  # words of a piece that is made at once
_LOOP_COST = 0.6931  # chain models leave and stay with the same probability
_EXPANDED, _MUTABLE = 1, 2


class SyntheticGraph:
    """A graph.

    Args:
        model: of which the transition-ids are.
        words: how many.
        successors: of each word.
        seed: of all random choices.
    """

    def __init__(self, model: TransitionModel, words: int, successors: int, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.model, self.words, self.successors, self.seed = model, words, min(successors, words), seed
        loops = np.flatnonzero(model.is_self_loop)
        states = model.transition_id_to_transition_state[loops]
        onward = ~model.is_self_loop
        onward[0] = False
        forward = np.zeros(model.num_transition_states + 1, np.int32)
        forward[model.transition_id_to_transition_state[onward]] = np.flatnonzero(onward)
        # Words come in families that differ in one HMM state, of a class of states that sound alike.
        families = random.integers(_SHORTEST, _LONGEST + 1, -(-words // _FAMILY))
        units = random.integers(0, len(loops), (len(families), _LONGEST))
        self.lengths = np.repeat(families, _FAMILY)[:words]
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        forms = np.repeat(units, _FAMILY, axis=0)[:words]
        rows, changed = np.arange(words), random.integers(0, self.lengths)
        forms[rows, changed] = self._alike(forms[rows, changed], len(loops))[rows, random.integers(0, _ALIKE, words)]
        chosen = forms[np.arange(_LONGEST) < self.lengths[:, None]]
        self.units, self._enters, self._loops = chosen, forward[states], loops.astype(np.int32)
        self.enter, self.loop = self._enters[chosen], self._loops[chosen]
        self.first = random.integers(0, words, words)
        sizes = [1 + self.lengths.sum()]
        for begin, end in self._groups():
            sizes += (1 + self.lengths[self._successors(begin, end)].sum(axis=1)).tolist()
        #: The state of each history, the empty one first, and the number of states.
        self.base = np.concatenate([[0], np.cumsum(sizes)])
        pairs = words + words * self.successors
        self.num_states = int(self.base[-1])
        self.num_arcs = pairs + words + 2 * (self.num_states - words - 1)

    @classmethod
    def of_size(cls, model: TransitionModel, size: int, form: str) -> SyntheticGraph:
        """A graph whose file has about ``size`` bytes."""
        words = int(np.clip(size // _BYTES_PER_WORD, 20, _MOST_WORDS))
        mean = (_SHORTEST + _LONGEST) / 2
        state = 20 if form == "const" else 12
        per_pair = mean * (state + 2 * ARC.itemsize) + ARC.itemsize
        return cls(model, words, max(1, round((size - words * per_pair) / (words * per_pair))))

    @staticmethod
    def _alike(units: np.ndarray, number: int) -> np.ndarray:
        """(units, _ALIKE): those that sound like each, itself among them."""
        return (units[:, None] // _ALIKE * _ALIKE + np.arange(_ALIKE)) % number

    def _groups(self) -> Iterator[tuple[int, int]]:
        step = max(1, _PAIRS // self.successors)
        for begin in range(0, self.words, step):
            yield begin, min(begin + step, self.words)

    def _successors(self, begin: int, end: int) -> np.ndarray:
        """(words, successors) of some words."""
        steps = np.arange(self.successors) * (_STRIDE if self.words % _STRIDE else 1)
        return (self.first[begin:end, None] + steps) % self.words

    def pieces(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Final costs, numbers of arcs, and arcs of the states, a run of states at a time."""
        yield self._piece(0, np.arange(self.words)[None])
        for begin, end in self._groups():
            yield self._piece(begin + 1, self._successors(begin, end))

    def _piece(self, history: int, words: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All that hangs on some histories, (histories, successors) words."""
        number, successors = words.shape
        random = np.random.default_rng([self.seed, history])
        base = self.base[history : history + number]
        states = int(self.base[history + number] - base[0])
        word = words.ravel()
        length = self.lengths[word]
        # Chains lie one behind the other, each history's behind its state.
        chain = np.cumsum(length) - length + np.repeat(np.arange(1, number + 1), successors)
        place = np.repeat(chain, length) + _within(length)
        unit = np.repeat(self.offsets[word], length) + _within(length)
        last = _within(length) == np.repeat(length - 1, length)
        head = base - base[0]
        backs_off = int(history > 0)
        counts = np.full(states, 2, np.int64)
        counts[head] = successors + backs_off
        offsets = np.cumsum(counts) - counts
        arcs = np.zeros(int(counts.sum()), ARC)
        first = (offsets[head][:, None] + np.arange(successors)).ravel()
        arcs["ilabel"][first], arcs["olabel"][first] = self.enter[self.offsets[word]], word + 1
        arcs["weight"][first] = random.uniform(1, 7, len(word))
        arcs["nextstate"][first] = base[0] + chain
        if backs_off:
            back = offsets[head] + successors
            arcs["weight"][back] = random.uniform(1, 4, number)
        loop = offsets[place]
        arcs["ilabel"][loop], arcs["nextstate"][loop] = self.loop[unit], base[0] + place
        onward = np.minimum(unit + 1, len(self.enter) - 1)
        arcs["ilabel"][loop + 1] = np.where(last, 0, self.enter[onward])
        history_of = self.base[1 + np.repeat(word, length)]
        arcs["nextstate"][loop + 1] = np.where(last, history_of, base[0] + place + 1)
        arcs["weight"][loop] = arcs["weight"][loop + 1] = _LOOP_COST
        finals = np.full(states, np.inf, np.float32)
        finals[head] = 2.0
        return finals, counts, arcs

    def write(self, path: Path, form: str) -> None:
        """Writes the graph as an FST of type ``const`` or ``vector``."""
        with path.open("wb") as stream:
            if form == "const":
                stream.writelines(const_bytes(0, self.num_states, self.num_arcs, self._fst_pieces))
                return
            names = b"".join(struct.pack("<i", len(name)) + name for name in (b"vector", b"standard"))
            sizes = struct.pack("<iiQqqq", 2, 0, _EXPANDED | _MUTABLE, 0, self.num_states, self.num_arcs)
            stream.write(struct.pack("<i", FST_MAGIC) + names + sizes)
            for piece in self.pieces():
                stream.write(_vector_states(*piece))

    def _fst_pieces(self) -> Iterator[FstPiece]:
        first = 0
        for finals, counts, arcs in self.pieces():
            yield FstPiece(first, finals, np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]), arcs)
            first += len(finals)

    def write_words(self, path: Path) -> None:
        """Writes ``words.txt``."""
        lines = [f"w{word} {word + 1}\n" for word in range(self.words)]
        path.write_text("".join(["<eps> 0\n", *lines, f"#0 {self.words + 1}\n"]))

    def loglikes(self, frames: int, random: np.random.Generator, noise: float, margin: float) -> np.ndarray:
        """Log-likelihoods, (frames, pdfs), of a walk through the graph.

        The pdfs on the way are better by ``margin`` than others, and those that sound alike nearly as good.
        """
        walk: list[int] = []
        enters: list[bool] = []
        word = int(random.integers(self.words))
        while len(walk) < frames:
            for unit in self.units[self.offsets[word] : self.offsets[word + 1]].tolist():
                stays = int(random.geometric(0.5)) - 1
                walk += [unit] * (1 + stays)
                enters += [True] + [False] * stays
            word = int(self._successors(word, word + 1)[0, random.integers(self.successors)])
        units = np.array(walk[:frames])
        alike = self._alike(units, len(self._loops))
        pdfs = self.model.transition_id_to_pdf[
            np.where(np.array(enters[:frames])[:, None], self._enters[alike], self._loops[alike])
        ]
        values = random.normal(0, noise, (frames, self.model.num_pdfs)).astype(np.float32)
        rows = np.arange(frames)[:, None]
        better = margin - np.abs(random.normal(0, 2 * noise, pdfs.shape)) * (alike != units[:, None])
        np.maximum.at(
            values,
            (np.broadcast_to(rows, pdfs.shape), pdfs),
            (better + random.normal(0, noise, pdfs.shape)).astype(np.float32),
        )
        return values - values.max()


def _within(length: np.ndarray) -> np.ndarray:
    """0, 1, … for each of some runs."""
    return np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)


def _vector_states(finals: np.ndarray, counts: np.ndarray, arcs: np.ndarray) -> bytes:
    state, arc = np.arange(len(counts)), np.arange(len(arcs))
    words = np.zeros(3 * len(counts) + 4 * len(arcs), "<u4")
    begin = 3 * state + 4 * (np.cumsum(counts) - counts)
    words[begin], words[begin + 1] = finals.view("<u4"), counts
    place = 3 * (np.repeat(state, counts) + 1) + 4 * arc
    words[place[:, None] + np.arange(4)] = arcs.view("<u4").reshape(-1, 4)
    return words.tobytes()
