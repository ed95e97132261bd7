"""FSTs of type ``vector`` and ``const`` in files, as a whole or a run of states at a time.

Decoding graphs have gigabytes: what only looks at their states and arcs reads them in pieces, in memory that does not
grow with the file.
Source: ``vector-fst.h`` and ``const-fst.h`` of OpenFST.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kaldi_quant.kaldi.fst import (
    ARC,
    IS_ALIGNED,
    Fst,
    FstBytes,
    FstHeader,
    check_start,
    open_fst,
    problem_of_states,
    read_fst_header,
)

_ALIGNED_VERSION = 1  # ConstFst files of this version are aligned although no flag says so
_ALIGNMENT = 16
_ADD_ON_MAGIC = 446681434  # kAddOnMagicNumber
#: A state in a const FST.
CONST_STATE = np.dtype(
    [("final", "<f4"), ("position", "<u4"), ("arcs", "<u4"), ("input_epsilons", "<u4"), ("output_epsilons", "<u4")]
)
# A state in a vector FST: its final cost and its number of arcs, which takes two words; then its arcs.
_HEAD_BYTES = 12
_HEAD_WORDS = 3
_ARC_WORDS = ARC.itemsize // 4
# Large enough that what is done for each piece does not count, and small enough for the processor's cache.
_PIECE_BYTES = 1 << 22
_PIECE_STATES = _PIECE_BYTES // 32


@dataclass(frozen=True)
class FstPiece:
    """Consecutive states.

    Attributes:
        first: the number of the first one.
        final: (n,) float32, the cost of ending in each; inf where it is not final.
        arc_offsets: (n + 1,) int64: the arcs of the i-th one are ``arcs[arc_offsets[i]:arc_offsets[i + 1]]``.
        arcs: of dtype ARC; may be read only as long as no other piece is asked for.
    """

    first: int
    final: np.ndarray
    arc_offsets: np.ndarray
    arcs: np.ndarray

    @property
    def source(self) -> np.ndarray:
        """(arcs,) int32: the state that each arc leaves."""
        states = np.arange(self.first, self.first + len(self.final), dtype=np.int32)
        return np.repeat(states, np.diff(self.arc_offsets))

    def count(self, label: str, value: int) -> np.ndarray:
        """(n,) uint32: how many arcs of each state have a value as ``ilabel`` or ``olabel``."""
        found = np.zeros(len(self.final), np.uint32)
        some = np.diff(self.arc_offsets) > 0
        if len(self.arcs):
            equal = (self.arcs[label] == value).view(np.uint8)
            found[some] = np.add.reduceat(equal, self.arc_offsets[:-1][some], dtype=np.uint32)
        return found


class FstFile:
    """A ``vector`` or ``const`` FST of ``standard`` arcs in a file.

    Args:
        path: the file.
        lookahead: whether it may be a look-ahead FST, which has such an FST within: what is added to it is not read.

    Raises:
        FormatError: the file is missing or of another kind.
    """

    def __init__(self, path: str | os.PathLike[str], lookahead: bool = False) -> None:
        self.path = os.fspath(path)
        self._source = open_fst(path)
        self.header = read_fst_header(self._source)
        if lookahead and _is_lookahead(self.header):
            self.header = _read_inner_header(self._source)
        self._begin = self._source.position
        _check_kind(self._source, self.header)

    def pieces(self) -> Iterator[FstPiece]:
        """All states in their order; every number is checked before it is given out.

        Raises:
            FormatError: the file is truncated or inconsistent.
        """
        source, header, states = self._source, self.header, self.num_states
        source.position = self._begin
        read = _const_pieces if header.fst_type == "const" else vector_pieces
        for number, piece in enumerate(read(source, header)):
            if not number:
                check_start(header.start, states, source)
            problem = problem_of_states(piece.final, piece.arc_offsets, piece.arcs, states, piece.first)
            if problem:
                source.fail(problem, 0)
            yield piece
        if not states:
            check_start(header.start, states, source)

    @cached_property
    def num_states(self) -> int:
        """The number of states: they are counted where the header does not tell it."""
        if self.header.num_states >= 0 or self.header.fst_type == "const":
            return self.header.num_states
        self._source.position = self._begin
        return sum(len(piece.final) for piece in vector_pieces(self._source, self.header))

    @cached_property
    def num_arcs(self) -> int:
        """The number of arcs: they are counted in a ``vector`` FST, of which the header does not tell it."""
        if self.header.fst_type == "const":
            return self.header.num_arcs
        self._source.position = self._begin
        return sum(len(piece.arcs) for piece in vector_pieces(self._source, self.header))


def read_fst(path: str | os.PathLike[str], lookahead: bool = False) -> Fst:
    """Reads an FST and checks every number in it.

    Args:
        path, lookahead: as of ``FstFile``.

    Raises:
        FormatError: the file is missing, of another kind, truncated or inconsistent.
    """
    file = FstFile(path, lookahead)
    return Fst(file.header.fst_type, file.header.start, *_joined(file.pieces()))


def read_vector_states(source: FstBytes, header: FstHeader) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads what follows the header of a ``vector`` FST: final costs, arc offsets and arcs, as in Fst."""
    return _joined(vector_pieces(source, header))


def _joined(pieces: Iterator[FstPiece]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    finals, counts, arcs = [], [np.zeros(1, np.int64)], []
    for piece in pieces:
        finals.append(piece.final)
        counts.append(np.diff(piece.arc_offsets))
        arcs.append(piece.arcs.copy())
    none = not finals
    final = np.zeros(0, np.float32) if none else np.concatenate(finals)
    return final, np.cumsum(np.concatenate(counts)), np.zeros(0, ARC) if none else np.concatenate(arcs)


def _is_lookahead(header: FstHeader) -> bool:
    return header.fst_type.endswith("lookahead")


def _read_inner_header(source: FstBytes) -> FstHeader:
    """Source: ``AddOnImpl::Read`` in ``add-on.h`` of OpenFST."""
    begin = source.position
    (magic,) = source.unpack("<i", "a look-ahead FST")
    if magic != _ADD_ON_MAGIC:
        source.fail(f"expected the number of an FST with additions ({_ADD_ON_MAGIC}), found {magic}", begin)
    return read_fst_header(source)


def _check_kind(source: FstBytes, header: FstHeader) -> None:
    if header.fst_type not in ("vector", "const") or header.arc_type != "standard":
        source.fail(
            f"expected a vector or const FST of standard arcs, found {header.fst_type!r} of {header.arc_type!r}; "
            f"{_advice(header)}",
            0,
        )
    versions = (2,) if header.fst_type == "vector" else (_ALIGNED_VERSION, 2)
    if header.version not in versions:
        source.fail(f"expected version 2 of a {header.fst_type} FST, found {header.version}", 0)


def _advice(header: FstHeader) -> str:
    """What to do about an FST of a type that is not read."""
    if _is_lookahead(header):
        return (
            "a look-ahead graph (HCLr.fst) holds no language model until it is composed with its grammar (Gr.fst): "
            "kaldi-quant compose-graph makes a whole HCLG.fst"
        )
    if header.fst_type == "ngram":
        return (
            "this is a language model (G.fst, or the Gr.fst of a look-ahead graph) and no whole graph: give HCLG.fst, "
            "which Kaldi's utils/mkgraph.sh makes"
        )
    if header.arc_type != "standard":
        return "fstmap --map_type=to_standard makes standard arcs"
    return "fstconvert --fst_type=const converts it"


def _align(source: FstBytes) -> None:
    source.position += -source.position % _ALIGNMENT


def _const_pieces(source: FstBytes, header: FstHeader) -> Iterator[FstPiece]:
    aligned = bool(header.flags & IS_ALIGNED) or header.version == _ALIGNED_VERSION
    if aligned:
        _align(source)
    begin = source.position
    states = source.array(CONST_STATE, header.num_states, "states")
    if aligned:
        _align(source)
    first_arc = source.position
    arcs = source.array(ARC, header.num_arcs, "arcs")
    first = position = 0
    while first < len(states):
        offsets = np.concatenate(
            [np.zeros(1, np.int64), np.cumsum(states["arcs"][first : first + _PIECE_STATES], dtype=np.int64)]
        )
        offsets = offsets[: max(2, int(np.searchsorted(offsets, _PIECE_BYTES // ARC.itemsize, "right")))]
        piece = states[first : first + len(offsets) - 1]
        end = position + int(offsets[-1])
        if np.any(piece["position"] != position + offsets[:-1]) or end > len(arcs):
            _fail_about_arcs(source, header, begin)
        found = FstPiece(first, piece["final"].copy(), offsets, arcs[position:end])
        for label, count in (("ilabel", "input_epsilons"), ("olabel", "output_epsilons")):
            if not np.array_equal(piece[count], found.count(label, 0)):
                source.fail("a state's number of epsilons is not that of its arcs", begin)
        yield found
        source.forget(begin + first * CONST_STATE.itemsize, begin + (first + len(piece)) * CONST_STATE.itemsize)
        source.forget(first_arc + position * ARC.itemsize, first_arc + end * ARC.itemsize)
        first, position = first + len(piece), end
    if position != len(arcs):
        _fail_about_arcs(source, header, begin)


def _fail_about_arcs(source: FstBytes, header: FstHeader, begin: int) -> None:
    source.fail(f"the states' arcs are not the {header.num_arcs} arcs of the FST in order", begin)


def vector_pieces(source: FstBytes, header: FstHeader) -> Iterator[FstPiece]:
    """The states behind the header of a ``vector`` FST, whose numbers are not checked yet; the source is left behind.

    Raises:
        FormatError: the states do not fit into the bytes that are left.
    """
    if header.num_states > source.left // _HEAD_BYTES:
        source.fail(f"{header.num_states} states cannot follow in the {source.left} bytes that are left")
    first = 0
    while first != header.num_states and (header.num_states >= 0 or source.left):
        most = header.num_states - first if header.num_states >= 0 else _PIECE_STATES
        piece = _vector_piece(source, first, min(most, _PIECE_STATES))
        yield piece
        first += len(piece.final)


def _vector_piece(source: FstBytes, first: int, most_states: int) -> FstPiece:
    """Reads a few states at the source's position."""
    begin = source.position
    numbers = source.left // 4
    words = memoryview(source.data)[begin : begin + 4 * numbers].cast("I")
    heads, end = _heads(words, most_states)
    if not heads:
        source.fail("the file ends inside a state", begin)
    head = np.array(heads)
    piece = np.frombuffer(source.data, "<u4", min(end, numbers), begin)
    counts = piece[head + 1].astype(np.int64) | piece[head + 2].astype(np.int64) << 32
    left = (source.left - _HEAD_BYTES) - 4 * head
    wrong = (counts < 0) | (counts > left // ARC.itemsize)
    if wrong.any():
        at = int(np.argmax(wrong))
        message = f"{counts[at]} arcs cannot follow in the {left[at]} bytes that are left"
        source.fail(message, begin + 4 * int(head[at]) + 4)
    is_arc = np.ones(len(piece), bool)
    for word in range(_HEAD_WORDS):
        is_arc[head + word] = False
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    found = FstPiece(first, piece[head].view("<f4"), offsets, piece[is_arc].view(ARC))
    source.position += 4 * end
    source.forget(begin, source.position)
    return found


def _heads(words: memoryview, most_states: int) -> tuple[list[int], int]:
    """Where states begin, of as many as make a piece, and where the next one would: each tells how long it is."""
    heads: list[int] = []
    place, last = 0, min(len(words) - _HEAD_WORDS, _PIECE_BYTES // 4)
    for _ in range(most_states):
        if place > last:
            break
        heads.append(place)
        place += _HEAD_WORDS + _ARC_WORDS * words[place + 1]
    return heads, place
