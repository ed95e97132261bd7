"""OpenFST files: ``HCLG.fst``, ``den.fst``, and the header that Kaldi's lattices share with them.

Everything is checked before a decoder sees the file, because a library that trusts a corrupt one may abort the process,
loop for ever or allocate gigabytes.
Source: ``fst.cc``, ``vector-fst.h``, ``const-fst.h`` and ``symbol-table.cc`` of OpenFST.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from kaldi_quant.errors import FormatError

FST_MAGIC = 2125659606
_SYMBOL_TABLE_MAGIC = 2125658996
_HAS_INPUT_SYMBOLS, _HAS_OUTPUT_SYMBOLS, IS_ALIGNED = 1, 2, 4
_ERROR_PROPERTY = 4  # kError
_LONGEST_STRING = 4096

ARC = np.dtype([("ilabel", "<i4"), ("olabel", "<i4"), ("weight", "<f4"), ("nextstate", "<i4")])


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

    def forget(self, begin: int, end: int) -> None:
        """Lets the system take the memory of some bytes of a mapped file, which will not be read soon."""
        begin, end = begin + -begin % mmap.PAGESIZE, end - end % mmap.PAGESIZE
        if begin < end and isinstance(self.data, mmap.mmap):
            self.data.madvise(mmap.MADV_DONTNEED, begin, end - begin)

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
    if header.flags & ~(_HAS_INPUT_SYMBOLS | _HAS_OUTPUT_SYMBOLS | IS_ALIGNED):
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


def open_fst(path: str | os.PathLike[str]) -> FstBytes:
    """Maps an FST file into memory.

    Raises:
        FormatError: the file is missing, unreadable or empty.
    """
    path = os.fspath(path)
    try:
        if os.path.getsize(path) == 0:
            raise FormatError(path, None, "the file is empty")
        with open(path, "rb") as stream:
            return FstBytes(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ), path)
    except OSError as error:
        raise FormatError(path, None, f"cannot be read: {error.strerror or error}") from error


def check_fst(fst: Fst, source: FstBytes, position: int = 0) -> None:
    """Refuses what no program may be given: dangling states, negative labels, costs that are not numbers.

    Args:
        fst: what was read.
        source: where it was read from.
        position: where it began, for messages.
    """
    check_start(fst.start, fst.num_states, source, position)
    problem = problem_of_states(fst.final, fst.arc_offsets, fst.arcs, fst.num_states)
    if problem:
        source.fail(problem, position)


def check_start(start: int, num_states: int, source: FstBytes, position: int = 0) -> None:
    """Refuses a start state that is none of the states."""
    if not 0 <= start < num_states:
        source.fail(f"the start state {start} is not one of the {num_states} states", position)


def problem_of_states(
    final: np.ndarray, arc_offsets: np.ndarray, arcs: np.ndarray, num_states: int, first: int = 0
) -> str | None:
    """What no program may be given in a run of states, or None.

    Args:
        final: (n,) float32, the costs of ending.
        arc_offsets: (n + 1,) int64: where each state's arcs are.
        arcs: of dtype ARC.
        num_states: of the whole FST, to which arcs may lead.
        first: the number of the run's first state.
    """
    for what, wrong in (
        ("leads to a state that is not there", arcs["nextstate"].view(np.uint32) >= num_states),
        ("has a negative label", (arcs["ilabel"] | arcs["olabel"]) < 0),
        ("has a cost that is not a number", _no_number(arcs["weight"])),
    ):
        if wrong.any():
            arc = int(np.argmax(wrong))
            state = int(np.searchsorted(arc_offsets, arc, "right")) - 1
            return f"an arc of state {first + state} {what}"
    wrong = _no_number(final)
    if wrong.any():
        return f"the final cost of state {first + int(np.argmax(wrong))} is not a number"
    return None


def _no_number(costs: np.ndarray) -> np.ndarray:
    return np.isnan(costs) | (costs == -np.inf)
