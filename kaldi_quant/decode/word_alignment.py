"""Lattices in which each arc is one word, or one silence, with just the frames that it takes.

Transition-ids of a determinized lattice lie anywhere on a path. Along every path they are gathered until the phones
tell that a word has ended.
Source: ``WordAlignLattice`` in ``src/lat/word-align-lattice.cc`` of Kaldi, for graphs with reordered transitions
(``--reorder=true``), which all recipes make.
"""

from __future__ import annotations

import numpy as np

from kaldi_quant.decode.lattice_epsilons import remove_epsilons
from kaldi_quant.kaldi.lattice import CompactLattice, assemble
from kaldi_quant.kaldi.transition_model import TransitionModel
from kaldi_quant.kaldi.word_boundary import PhoneKind, WordBoundary

_NONE = np.zeros(0, np.int32)
# The state of the lattice that comes after all final ones.
_END = -1

Words = tuple[int, ...]
TransitionIds = tuple[int, ...]
# A state of the lattice, and what came in along a path to it and did not go out.
Place = tuple[int, TransitionIds, Words]
# What goes out: its label, how many transition-ids it takes, and the words that are left.
Output = tuple[int, int, Words]


class WordAligner:
    """Finds where words end among transition-ids.

    Args:
        transitions: the transition model.
        boundary: where in words phones stand.

    Raises:
        DataError: a phone of the model is not in ``boundary``.
    """

    def __init__(self, transitions: TransitionModel, boundary: WordBoundary) -> None:
        self._kind = boundary.of_transition_ids(transitions)
        self._is_final = transitions.is_final.tolist()
        self._is_loop = transitions.is_self_loop.tolist()

    def align(self, lattice: CompactLattice) -> CompactLattice:
        """Aligns a lattice.

        Args:
            lattice: determinized, as decoders leave it.

        Returns:
            A lattice in topological order; arcs of silence, and those of a word that the end cuts off before its name
            is known, have the word 0.

        Raises:
            DataError: the lattice has a cycle.
        """
        if lattice.start < 0:
            return lattice
        silence = int(lattice.word.max(initial=0)) + 1
        expansion = _Expansion(lattice)
        for place in expansion.places:
            state, transition_ids, words = place
            output = self._output(transition_ids, words, silence)
            if output is None and state == _END:
                output = self._forced(transition_ids, words, silence)
            if output is None:
                expansion.take_in(place)
            else:
                word, taken, rest = output
                expansion.add_arc(word, (0.0, 0.0), transition_ids[:taken], (state, transition_ids[taken:], rest))
            expansion.end_state(is_final=output is None and state == _END)
        aligned = remove_epsilons(expansion.lattice())
        # Silences had a label so as to stay.
        aligned.word[aligned.word >= silence] = 0
        return aligned

    def _output(self, transition_ids: TransitionIds, words: Words, silence: int) -> Output | None:
        """What is complete at the beginning of what is pending."""
        if not transition_ids:
            return None
        kind = self._kind[transition_ids[0]]
        if kind is PhoneKind.NONWORD:
            end = self._phone_end(transition_ids, 0)
            return None if end is None else (silence, end, words)
        if not words or kind not in (PhoneKind.SINGLETON, PhoneKind.BEGIN):
            return None
        end = self._phone_end(transition_ids, 0)
        if end is not None and kind is PhoneKind.BEGIN:
            end = self._word_end(transition_ids, end)
        return None if end is None else (words[0], end, words[1:])

    def _phone_end(self, transition_ids: TransitionIds, begin: int) -> int | None:
        """Where a phone ends: behind its last transition and the loops that come after it; None where none is sure."""
        number, is_final, is_loop = len(transition_ids), self._is_final, self._is_loop
        position = begin
        while position < number and not is_final[transition_ids[position]]:
            position += 1
        position += 1
        while position < number and is_loop[transition_ids[position]]:
            position += 1
        return position if position < number else None

    def _word_end(self, transition_ids: TransitionIds, begin: int) -> int | None:
        for position in range(begin, len(transition_ids)):
            if self._kind[transition_ids[position]] is PhoneKind.END:
                return self._phone_end(transition_ids, position)
        return None

    def _forced(self, transition_ids: TransitionIds, words: Words, silence: int) -> Output | None:
        """What goes out at the end of the lattice, where nothing more can come; None where nothing is pending."""
        if not transition_ids:
            return (0, 0, ()) if words else None
        if words:
            return words[0], len(transition_ids), words[1:]
        is_silence = self._kind[transition_ids[0]] is PhoneKind.NONWORD
        return silence if is_silence else silence + 1, len(transition_ids), words


class _Expansion:
    """A lattice while it is aligned: arcs take something in without giving a word out, or the other way round.

    Args:
        lattice: that is aligned.

    Attributes:
        places: the states so far; more come while one goes through them.
    """

    def __init__(self, lattice: CompactLattice) -> None:
        self._offsets, self._targets = lattice.arc_offsets.tolist(), lattice.nextstate.tolist()
        self._words, self._costs, self._final = lattice.word.tolist(), lattice.cost.tolist(), lattice.final.tolist()
        self._strings = [tuple(string.tolist()) for string in lattice.strings]
        self._final_strings = [tuple(string.tolist()) for string in lattice.final_strings]
        self.places: list[Place] = [(lattice.start, (), ())]
        self._numbers = {self.places[0]: 0}
        self._ends: list[tuple[float, float]] = []
        self._arc_ends = [0]
        self._arcs: list[tuple[int, tuple[float, float], np.ndarray, int]] = []

    def take_in(self, place: Place) -> None:
        """Adds the arcs that the lattice has in the place's state."""
        state, transition_ids, words = place
        if state == _END:
            return
        if sum(self._final[state]) < np.inf:
            self.add_arc(0, self._final[state], (), (_END, transition_ids + self._final_strings[state], words))
        for arc in range(self._offsets[state], self._offsets[state + 1]):
            word = self._words[arc]
            grown = transition_ids + self._strings[arc]
            self.add_arc(0, self._costs[arc], (), (self._targets[arc], grown, (*words, word) if word else words))

    def add_arc(self, word: int, cost: tuple[float, float], string: TransitionIds, target: Place) -> None:
        """Adds an arc to the state at work."""
        number = self._numbers.setdefault(target, len(self._numbers))
        if number == len(self.places):
            self.places.append(target)
        self._arcs.append((word, cost, np.array(string, np.int32) if string else _NONE, number))

    def end_state(self, is_final: bool) -> None:
        """Goes on to the next state."""
        self._ends.append((0.0, 0.0) if is_final else (np.inf, np.inf))
        self._arc_ends.append(len(self._arcs))

    def lattice(self) -> CompactLattice:
        """All that was added."""
        return assemble(
            0,
            self._ends,
            [_NONE] * len(self._ends),
            self._arc_ends,
            [word for word, _, _, _ in self._arcs],
            [cost for _, cost, _, _ in self._arcs],
            [target for _, _, _, target in self._arcs],
            [string for _, _, string, _ in self._arcs],
        )
