"""OpenFST files: ``HCLG.fst``, ``den.fst``, and the header that Kaldi's lattices share with them.

Everything is checked before a decoder sees the file, because a library that trusts a corrupt one may abort the process,
loop for ever or allocate gigabytes.
Source: ``fst.cc``, ``vector-fst.h``, ``const-fst.h`` and ``symbol-table.cc`` of OpenFST.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from kaldi_quant.errors import FormatError

FST_MAGIC = 2125659606
_SYMBOL_TABLE_MAGIC = 2125658996
_HAS_INPUT_SYMBOLS, _HAS_OUTPUT_SYMBOLS, _IS_ALIGNED = 1, 2, 4
_ALIGNED_VERSION = 1  # ConstFst files of this version are aligned although no flag says so
_ALIGNMENT = 16
_ERROR_PROPERTY = 4  # kError
_LONGEST_STRING = 4096

ARC = np.dtype([("ilabel", "<i4"), ("olabel", "<i4"), ("weight", "<f4"), ("nextstate", "<i4")])
_CONST_STATE = np.dtype(
    [("final", "<f4"), ("position", "<u4"), ("arcs", "<u4"), ("input_epsilons", "<u4"), ("output_epsilons", "<u4")]
)


@dataclass(frozen=True)
class FstHeader:
    """What stands at the beginning of every FST; ``num_states`` is -1 where its writer did not know."""

    fst_type: str
    arc_type: str
    version: int
    flags: int
    properties: int
    start: int
    num_states: int
    num_arcs: int


class FstBytes:
    """A file in memory and a position in it.

    Args:
        data: the bytes: anything that numpy and struct read from.
        path: the file's name, for messages.
        position: where reading begins.
    """

    def __init__(self, data: Any, path: str, position: int = 0) -> None:
        self.data = data
        self.path = path
        self.position = position

    def fail(self, message: str, position: int | None = None) -> NoReturn:
        """Raises FormatError at ``position``, by default the current one."""
        raise FormatError(self.path, self.position if position is None else position, message)

    @property
    def left(self) -> int:
        """The number of bytes behind the position."""
        return len(self.data) - self.position

    def unpack(self, code: str, what: str) -> tuple[Any, ...]:
        """Reads numbers, ``code`` as in struct."""
        size = struct.calcsize(code)
        if size > self.left:
            self.fail(f"the file ends inside {what}")
        values = struct.unpack_from(code, self.data, self.position)
        self.position += size
        return values

    def string(self, what: str) -> str:
        """Reads a string with its length in front of it."""
        begin = self.position
        (length,) = self.unpack("<i", what)
        if not 0 <= length <= min(_LONGEST_STRING, self.left):
            self.fail(f"{what} cannot have {length} bytes", begin)
        text = bytes(self.data[self.position : self.position + length])
        self.position += length
        return text.decode("utf-8", "replace")

    def array(self, dtype: np.dtype, number: int, what: str) -> np.ndarray:
        """Reads ``number`` items, as a view of the bytes."""
        if not 0 <= number <= self.left // dtype.itemsize:
            self.fail(f"{number} {what} cannot follow in the {self.left} bytes that are left")
        values = np.frombuffer(self.data, dtype, number, self.position)
        self.position += values.nbytes
        return values


def read_fst_header(source: FstBytes) -> FstHeader:
    """Reads the header and skips the symbol tables that it announces.

    Raises:
        FormatError: this is not an FST.
    """
    begin = source.position
    (magic,) = source.unpack("<i", "the header of an FST")
    if magic != FST_MAGIC:
        source.fail(f"expected the header of an FST ({FST_MAGIC}), found {magic}", begin)
    fst_type, arc_type = source.string("the type of an FST"), source.string("the arc type of an FST")
    numbers = source.unpack("<iiQqqq", "the header of an FST")
    header = FstHeader(fst_type, arc_type, *numbers)
    if header.flags & ~(_HAS_INPUT_SYMBOLS | _HAS_OUTPUT_SYMBOLS | _IS_ALIGNED):
        source.fail(f"the header of the FST has unknown flags, {header.flags:#x}", begin)
    if header.properties & _ERROR_PROPERTY:
        source.fail("the program that wrote this FST marked it as erroneous", begin)
    if header.num_states < -1 or header.num_arcs < -1 or header.start < -1:
        source.fail("the header of the FST has a negative size", begin)
    for flag in (_HAS_INPUT_SYMBOLS, _HAS_OUTPUT_SYMBOLS):
        if header.flags & flag:
            _skip_symbol_table(source)
    return header


def _skip_symbol_table(source: FstBytes) -> None:
    begin = source.position
    (magic,) = source.unpack("<i", "a symbol table")
    if magic != _SYMBOL_TABLE_MAGIC:
        source.fail(f"expected a symbol table ({_SYMBOL_TABLE_MAGIC}), found {magic}", begin)
    source.string("a symbol table's name")
    _, size = source.unpack("<qq", "a symbol table")
    if not 0 <= size <= source.left // 12:
        source.fail(f"a symbol table of {size} symbols cannot follow in the {source.left} bytes that are left", begin)
    for _ in range(size):
        source.string("a symbol")
        source.unpack("<q", "a symbol's number")


class Fst:
    """A finite-state transducer over the tropical semiring: weights are costs.

    Args:
        fst_type: ``vector`` or ``const``.
        start: the start state.
        final: (states,) float32, the cost of ending in a state; inf where it is not final.
        arc_offsets: (states + 1,) int64: the arcs of state s are ``arcs[arc_offsets[s]:arc_offsets[s + 1]]``.
        arcs: (arcs,) of dtype ARC.
    """

    def __init__(self, fst_type: str, start: int, final: np.ndarray, arc_offsets: np.ndarray, arcs: np.ndarray) -> None:
        self.fst_type = fst_type
        self.start = start
        self.final = final
        self.arc_offsets = arc_offsets
        self.arcs = arcs

    @property
    def num_states(self) -> int:
        """The number of states."""
        return len(self.final)

    @property
    def ilabel(self) -> np.ndarray:
        """(arcs,) int32, 0 for epsilon."""
        return self.arcs["ilabel"]

    @property
    def olabel(self) -> np.ndarray:
        """(arcs,) int32, 0 for epsilon."""
        return self.arcs["olabel"]

    @property
    def weight(self) -> np.ndarray:
        """(arcs,) float32, costs."""
        return self.arcs["weight"]

    @property
    def nextstate(self) -> np.ndarray:
        """(arcs,) int32."""
        return self.arcs["nextstate"]

    @property
    def source(self) -> np.ndarray:
        """(arcs,) int32: the state that each arc leaves."""
        return np.repeat(np.arange(self.num_states, dtype=np.int32), np.diff(self.arc_offsets))


def read_fst(path: str | os.PathLike[str]) -> Fst:
    """Reads a ``vector`` or ``const`` FST of ``standard`` arcs and checks every number in it.

    The arcs of a const FST are a read-only view of the file.

    Raises:
        FormatError: the file is missing, of another kind, truncated or inconsistent.
    """
    source = open_fst(path)
    header = read_fst_header(source)
    if header.fst_type not in ("vector", "const") or header.arc_type != "standard":
        source.fail(
            f"expected a vector or const FST of standard arcs, found {header.fst_type!r} of {header.arc_type!r}; "
            f"{_advice(header)}",
            0,
        )
    versions = (2,) if header.fst_type == "vector" else (_ALIGNED_VERSION, 2)
    if header.version not in versions:
        source.fail(f"expected version 2 of a {header.fst_type} FST, found {header.version}", 0)
    final, offsets, arcs = (read_vector_states if header.fst_type == "vector" else _read_const)(source, header)
    fst = Fst(header.fst_type, header.start, final, offsets, arcs)
    check_fst(fst, source)
    return fst


def _advice(header: FstHeader) -> str:
    """What to do about an FST of a type that is not read."""
    if header.fst_type.endswith("lookahead"):
        return (
            "a look-ahead graph (HCLr.fst) holds no language model until it is composed with its grammar (Gr.fst): "
            "give a whole HCLG.fst, which Kaldi's utils/mkgraph.sh makes, or utils/mkgraph_lookahead.sh --compose-graph"
        )
    if header.fst_type == "ngram":
        return (
            "this is a language model (G.fst, or the Gr.fst of a look-ahead graph) and no whole graph: give HCLG.fst, "
            "which Kaldi's utils/mkgraph.sh makes"
        )
    if header.arc_type != "standard":
        return "fstmap --map_type=to_standard makes standard arcs"
    return "fstconvert --fst_type=const converts it"


def open_fst(path: str | os.PathLike[str]) -> FstBytes:
    """Maps an FST file into memory.

    Raises:
        FormatError: the file is missing, unreadable or empty.
    """
    path = os.fspath(path)
    try:
        if os.path.getsize(path) == 0:
            raise FormatError(path, None, "the file is empty")
        return FstBytes(np.memmap(path, np.uint8, "r"), path)
    except OSError as error:
        raise FormatError(path, None, f"cannot be read: {error.strerror or error}") from error


def _align(source: FstBytes) -> None:
    source.position += -source.position % _ALIGNMENT


def _read_const(source: FstBytes, header: FstHeader) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    aligned = bool(header.flags & _IS_ALIGNED) or header.version == _ALIGNED_VERSION
    if aligned:
        _align(source)
    begin = source.position
    states = source.array(_CONST_STATE, header.num_states, "states")
    if aligned:
        _align(source)
    arcs = source.array(ARC, header.num_arcs, "arcs")
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(states["arcs"], dtype=np.int64)])
    if offsets[-1] != len(arcs) or np.any(states["position"] != offsets[:-1]):
        source.fail(f"the states' arcs are not the {len(arcs)} arcs of the FST in order", begin)
    some = states["arcs"] > 0
    for label, count in (("ilabel", "input_epsilons"), ("olabel", "output_epsilons")):
        found = np.add.reduceat(arcs[label] == 0, offsets[:-1][some], dtype=np.uint32) if len(arcs) else 0
        if np.any(states[count][some] != found) or np.any(states[count][~some]):
            source.fail("a state's number of epsilons is not that of its arcs", begin)
    return states["final"].copy(), offsets, arcs


def read_vector_states(source: FstBytes, header: FstHeader) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads what follows the header of a ``vector`` FST: final costs, arc offsets and arcs, as in Fst."""
    if header.num_states > source.left // 12:
        source.fail(f"{header.num_states} states cannot follow in the {source.left} bytes that are left")
    data, position, end = source.data, source.position, len(source.data)
    unpack = struct.Struct("<fq").unpack_from
    finals: list[float] = []
    counts: list[int] = []
    pieces: list[bytes] = []
    while len(finals) != header.num_states:
        if header.num_states == -1 and position == end:
            break
        if position + 12 > end:
            source.fail("the file ends inside a state", position)
        final, count = unpack(data, position)
        position += 12
        if not 0 <= count <= (end - position) // ARC.itemsize:
            source.fail(f"{count} arcs cannot follow in the {end - position} bytes that are left", position - 8)
        finals.append(final)
        counts.append(count)
        pieces.append(bytes(data[position : position + count * ARC.itemsize]))
        position += count * ARC.itemsize
    source.position = position
    arcs = np.frombuffer(b"".join(pieces), ARC)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
    return np.array(finals, np.float32), offsets, arcs


def check_fst(fst: Fst, source: FstBytes, position: int = 0) -> None:
    """Refuses what no program may be given: dangling states, negative labels, costs that are not numbers.

    Args:
        fst: what was read.
        source: where it was read from.
        position: where it began, for messages.
    """
    if not 0 <= fst.start < fst.num_states:
        source.fail(f"the start state {fst.start} is not one of the {fst.num_states} states", position)
    for what, wrong in (
        ("leads to a state that is not there", (fst.nextstate < 0) | (fst.nextstate >= fst.num_states)),
        ("has a negative label", (fst.ilabel < 0) | (fst.olabel < 0)),
        ("has a cost that is not a number", np.isnan(fst.weight) | (fst.weight == -np.inf)),
    ):
        if np.any(wrong):
            arc = int(np.argmax(wrong))
            state = int(np.searchsorted(fst.arc_offsets, arc, "right")) - 1
            source.fail(f"an arc of state {state} {what}", position)
    wrong = np.isnan(fst.final) | (fst.final == -np.inf)
    if np.any(wrong):
        source.fail(f"the final cost of state {int(np.argmax(wrong))} is not a number", position)
