"""Kaldi's lattices, read and written.

A compact lattice is an acceptor of words; each arc carries a graph cost, an acoustic cost and the transition-ids that
belong to it. A lattice that is not compact has a transition-id as input label and a word as output label; it is read as
a compact one whose arcs carry at most one transition-id.
Source: ``src/lat/kaldi-lattice.{h,cc}``, ``src/fstext/lattice-weight.h``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.fst import FST_MAGIC, FstBytes, read_fst_header

_COMPACT, _PLAIN = "compactlattice44", "lattice4"
_NO_STRING = np.zeros(0, np.int32)
# kExpanded, kMutable and kAcceptor of OpenFST: what holds for every compact lattice.
_PROPERTIES = 0x10003

_STATE = struct.Struct("<ffi")
_ARC_COUNT = struct.Struct("<q")
_COMPACT_ARC = struct.Struct("<iiffi")
_PLAIN_ARC = np.dtype([("label", "<i4"), ("word", "<i4"), ("cost", "<f4", 2), ("nextstate", "<i4")])
# A state has two costs and a number of 64 bits.
_PLAIN_STATE_WORDS, _PLAIN_ARC_WORDS = 4, 5
_INT = struct.Struct("<i")


@dataclass
class CompactLattice:
    """A compact lattice.

    Args:
        start: the start state; -1 for an empty lattice.
        final: (states, 2) float32: graph and acoustic cost of ending in a state; inf where it is not final.
        final_strings: the transition-ids that belong to ending, (n,) int32 for each state.
        arc_offsets: (states + 1,) int64: the arcs of state s are ``arc_offsets[s]`` to ``arc_offsets[s + 1] - 1``.
        word: (arcs,) int32, 0 for epsilon.
        cost: (arcs, 2) float32: graph and acoustic cost.
        nextstate: (arcs,) int32.
        strings: the transition-ids of each arc, (n,) int32.
    """

    start: int
    final: np.ndarray
    final_strings: list[np.ndarray]
    arc_offsets: np.ndarray
    word: np.ndarray
    cost: np.ndarray
    nextstate: np.ndarray
    strings: list[np.ndarray]

    @property
    def num_states(self) -> int:
        """The number of states."""
        return len(self.final)

    @property
    def num_arcs(self) -> int:
        """The number of arcs."""
        return len(self.word)

    def topological_order(self) -> list[int]:
        """The states, each before those that its arcs lead to.

        Raises:
            DataError: the lattice has a cycle.
        """
        source = np.repeat(np.arange(self.num_states), np.diff(self.arc_offsets))
        if np.all(self.nextstate > source):
            return list(range(self.num_states))
        offsets, nextstate = self.arc_offsets.tolist(), self.nextstate.tolist()
        entering = np.bincount(self.nextstate, minlength=self.num_states).tolist()
        order = [state for state, count in enumerate(entering) if count == 0]
        for state in order:
            for target in nextstate[offsets[state] : offsets[state + 1]]:
                entering[target] -= 1
                if not entering[target]:
                    order.append(target)
        if len(order) < self.num_states:
            raise DataError("the lattice has a cycle")
        return order

    @classmethod
    def read(cls, source: FstBytes) -> CompactLattice:
        """Reads a lattice in binary form, compact or not.

        Raises:
            FormatError: the lattice is truncated, inconsistent, or of another arc type.
        """
        begin = source.position
        header = read_fst_header(source)
        if header.fst_type != "vector" or header.arc_type not in (_COMPACT, _PLAIN):
            source.fail(
                f"expected a vector FST of {_COMPACT} or {_PLAIN}, found {header.fst_type!r} of {header.arc_type!r}",
                begin,
            )
        if not 0 <= header.num_states <= source.left // 16:
            source.fail(f"{header.num_states} states cannot follow in the {source.left} bytes that are left", begin)
        try:
            read_states = _read_compact if header.arc_type == _COMPACT else _read_plain
            lattice = read_states(source, header.start, header.num_states)
        except (struct.error, ValueError, MemoryError) as error:
            source.fail(f"the lattice that begins here ends too early or is corrupt ({error})", begin)
        problem = lattice.problem()
        if problem:
            source.fail(f"the lattice that begins here {problem}", begin)
        return lattice

    def problem(self) -> str | None:
        """What makes the lattice unusable, or None."""
        if self.num_arcs and not 0 <= self.nextstate.min() <= self.nextstate.max() < self.num_states:
            return "has an arc to a state that is not there"
        if not (0 if self.num_states else -1) <= self.start < self.num_states:
            return f"has the start state {self.start} and {self.num_states} states"
        if self.num_arcs and self.word.min() < 0:
            return "has a negative word"
        for cost in (self.cost, self.final):
            if np.any(np.isnan(cost) | (cost == -np.inf)):
                return "has a cost that is not a number"
        return None

    def to_bytes(self) -> bytes:
        """The lattice in Kaldi's binary form."""
        name = b"vector", _COMPACT.encode()
        parts = [
            struct.pack("<ii6si16s", FST_MAGIC, len(name[0]), name[0], len(name[1]), name[1]),
            struct.pack("<iiQqqq", 2, 0, _PROPERTIES, self.start, self.num_states, 0),
        ]
        offsets, words, nextstates = self.arc_offsets.tolist(), self.word.tolist(), self.nextstate.tolist()
        costs, finals = self.cost.tolist(), self.final.tolist()
        for state in range(self.num_states):
            string = self.final_strings[state]
            parts += [_STATE.pack(*finals[state], len(string)), string.tobytes()]
            parts.append(_ARC_COUNT.pack(offsets[state + 1] - offsets[state]))
            for arc in range(offsets[state], offsets[state + 1]):
                string, word = self.strings[arc], words[arc]
                parts += [_COMPACT_ARC.pack(word, word, *costs[arc], len(string)), string.tobytes()]
                parts.append(_INT.pack(nextstates[arc]))
        return b"".join(parts)


def _string(source: FstBytes, position: int, length: int) -> np.ndarray:
    if not length:
        return _NO_STRING
    if length < 0:
        raise ValueError(f"a negative number of transition-ids at byte {position}")
    return np.frombuffer(source.data, "<i4", length, position)


def _read_compact(source: FstBytes, start: int, num_states: int) -> CompactLattice:
    data, position = source.data, source.position
    finals, final_strings, offsets = [], [], [0]
    words, costs, nextstates, strings = [], [], [], []
    for _ in range(num_states):
        graph, acoustic, length = _STATE.unpack_from(data, position)
        finals.append((graph, acoustic))
        final_strings.append(_string(source, position + 12, length))
        position += 12 + 4 * length
        (count,) = _ARC_COUNT.unpack_from(data, position)
        position += 8
        if count < 0:
            raise ValueError(f"a negative number of arcs at byte {position}")
        for _ in range(count):
            word, _, graph, acoustic, length = _COMPACT_ARC.unpack_from(data, position)
            words.append(word)
            costs.append((graph, acoustic))
            strings.append(_string(source, position + 20, length))
            position += 20 + 4 * length
            nextstates.append(_INT.unpack_from(data, position)[0])
            position += 4
        offsets.append(len(words))
    source.position = position
    return assemble(start, finals, final_strings, offsets, words, costs, nextstates, strings)


def _read_plain(source: FstBytes, start: int, num_states: int) -> CompactLattice:
    """Each state tells how many arcs follow it, which have one size: only the places of states are found one by one."""
    begin, size = source.position, source.left // 4
    words = memoryview(source.data)[begin : begin + 4 * size].cast("I")
    places, place = [], 0
    for _ in range(num_states):
        places.append(place)
        if place + _PLAIN_STATE_WORDS > size:
            raise ValueError(f"a state beyond the {source.left} bytes that are left")
        place += _PLAIN_STATE_WORDS + _PLAIN_ARC_WORDS * words[place + 2]
    values = np.frombuffer(source.data, "<u4", min(place, size), begin)
    state = np.array(places, np.int64)
    if place > size or values[state + 3].any():
        raise ValueError(f"arcs beyond the {source.left} bytes that are left")
    counts = values[state + 2].astype(np.int64)
    is_arc = np.ones(len(values), bool)
    for word in range(_PLAIN_STATE_WORDS):
        is_arc[state + word] = False
    arcs = values[is_arc].view(_PLAIN_ARC)
    source.position = begin + 4 * place
    labels = arcs["label"].tolist()
    singles = {label: np.array([label] if label else [], np.int32) for label in set(labels)}
    return CompactLattice(
        start,
        np.column_stack([values[state], values[state + 1]]).view(np.float32).reshape(-1, 2),
        [_NO_STRING] * num_states,
        np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        arcs["word"].copy(),
        arcs["cost"].copy(),
        arcs["nextstate"].copy(),
        [singles[label] for label in labels],
    )


def assemble(
    start: int,
    finals: list[tuple[float, float]],
    final_strings: list[np.ndarray],
    offsets: list[int],
    words: list[int],
    costs: list[tuple[float, float]],
    nextstates: list[int],
    strings: list[np.ndarray],
) -> CompactLattice:
    """A compact lattice from lists; their meaning is that of the class's arguments."""
    return CompactLattice(
        start,
        np.array(finals, np.float32).reshape(-1, 2),
        final_strings,
        np.array(offsets, np.int64),
        np.array(words, np.int32),
        np.array(costs, np.float32).reshape(-1, 2),
        np.array(nextstates, np.int32),
        strings,
    )
