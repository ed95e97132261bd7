"""The FSTs inside Kaldi's chain examples: acceptors of pdf-ids plus one, in OpenFST's compact, its vector or text form.

Source: ``compact-fst.h`` (``StdCompactAcceptorFst``) and ``vector-fst.h`` of OpenFST; ``WriteFstKaldi`` in
``src/fstext/kaldi-fst-io-inl.h`` for the text form. What is read is written back byte for byte.
"""

from __future__ import annotations

import struct
from typing import NoReturn

import numpy as np

from kaldi_quant.kaldi.fst import (
    ARC,
    FST_MAGIC,
    Fst,
    FstBytes,
    FstHeader,
    check_fst,
    read_fst_header,
)
from kaldi_quant.kaldi.fst_file import read_vector_states
from kaldi_quant.kaldi.fst_properties import EXPANDED, MUTABLE, compute_properties
from kaldi_quant.kaldi.reader import BinaryReader, Reader
from kaldi_quant.kaldi.text import split_words, strip, to_integer, to_real
from kaldi_quant.kaldi.writer import BinaryWriter, Writer

COMPACT, VECTOR = "compact_acceptor", "vector"
VERSION = 2
COMPACT_ELEMENT = np.dtype([("label", "<i4"), ("weight", "<f4"), ("nextstate", "<i4")])
NO_LABEL = -1
_HEADER = struct.Struct("<iiQqqq")


class SupervisionFst(Fst):
    """An acceptor of which each path is a permitted sequence of labels, with costs.

    Args:
        start, final, arc_offsets, arcs: as for Fst.
        fst_type: the form in binary files, ``compact_acceptor`` or ``vector``.
        properties: the bits in the header, where the FST was read; None has them computed.
    """

    def __init__(
        self,
        start: int,
        final: np.ndarray,
        arc_offsets: np.ndarray,
        arcs: np.ndarray,
        fst_type: str = COMPACT,
        properties: int | None = None,
    ) -> None:
        super().__init__(fst_type, start, final, arc_offsets, arcs)
        self._properties = properties
        self._state_times: np.ndarray | None = None

    @property
    def properties(self) -> int:
        """OpenFST's bits: what is known of labels, weights and shape, and how the FST is stored."""
        if self._properties is None:
            stored = EXPANDED if self.fst_type == COMPACT else EXPANDED | MUTABLE
            self._properties = compute_properties(self) | stored
        return self._properties

    @property
    def state_times(self) -> np.ndarray:
        """The number of arcs between the start and each state: (states,) int64; see ``compute_state_times``."""
        if self._state_times is None:
            self._state_times = compute_state_times(self)
        return self._state_times

    @state_times.setter
    def state_times(self, times: np.ndarray) -> None:
        self._state_times = times

    @classmethod
    def read(cls, reader: Reader) -> SupervisionFst:
        """Reads an FST in the form of the file.

        Raises:
            FormatError: the file holds something else, ends too early, or the FST is inconsistent or no acceptor.
        """
        begin = reader.position
        fst = _read_binary(reader) if isinstance(reader, BinaryReader) else _read_text(reader)
        if np.any(fst.ilabel != fst.olabel):
            reader.fail("the FST of a supervision must be an acceptor, and this one has two labels on an arc", begin)
        return fst

    def write(self, writer: Writer) -> None:
        """Writes the FST in the writer's form."""
        if isinstance(writer, BinaryWriter):
            writer.raw(self._binary())
        else:
            writer.raw(self._text().encode())

    def _binary(self) -> bytes:
        names = b"".join(struct.pack("<i", len(name)) + name for name in (self.fst_type.encode(), b"standard"))
        sizes = _HEADER.pack(VERSION, 0, self.properties, self.start, self.num_states, len(self.arcs))
        header = struct.pack("<i", FST_MAGIC) + names + sizes
        return header + (_compact_states(self) if self.fst_type == COMPACT else _vector_states(self))

    def _text(self) -> str:
        lines = [""]
        for state in sorted(range(self.num_states), key=lambda state: state != self.start):
            for arc in self.arcs[self.arc_offsets[state] : self.arc_offsets[state + 1]]:
                fields = [state, arc["nextstate"], arc["ilabel"], arc["olabel"], *_text_weight(arc["weight"])]
                lines.append("\t".join(map(str, fields)))
            if self.final[state] != np.inf:
                lines.append("\t".join(map(str, [state, *_text_weight(self.final[state])])))
        return "\n".join(lines) + "\n\n"


def _text_weight(weight: np.float32) -> list[str]:
    return [f"{weight:.7g}"] if weight != 0 else []


class _Part(FstBytes):
    """An FST inside a larger file: errors tell the offset in that."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader.data, reader.path, reader.position)
        self._reader = reader

    def fail(self, message: str, position: int | None = None) -> NoReturn:
        self._reader.fail(message, self.position if position is None else position)


def _read_binary(reader: Reader) -> SupervisionFst:
    source = _Part(reader)
    begin = source.position
    header = read_fst_header(source)
    if header.fst_type not in (COMPACT, VECTOR) or header.arc_type != "standard":
        source.fail(
            f"expected a {COMPACT} FST of standard arcs, found {header.fst_type!r} of {header.arc_type!r}", begin
        )
    if header.version != VERSION or header.flags or header.num_states < 1:
        found = f"version {header.version}, flags {header.flags:#x} and {header.num_states} states"
        source.fail(f"expected an FST of version 2 without flags and with states, found {found}", begin)
    final, offsets, arcs = (_read_compact if header.fst_type == COMPACT else read_vector_states)(source, header)
    if len(arcs) != header.num_arcs and header.fst_type == COMPACT:
        source.fail(f"the header announces {header.num_arcs} arcs, and {len(arcs)} follow", begin)
    fst = SupervisionFst(header.start, final, offsets, arcs, header.fst_type, header.properties)
    check_fst(fst, source, begin)
    reader.position = source.position
    return fst


def _read_compact(source: FstBytes, header: FstHeader) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every state's final cost, as an arc without label that leads nowhere, stands before its arcs."""
    begin = source.position
    offsets = source.array(np.dtype("<u4"), header.num_states + 1, "states").astype(np.int64)
    if not len(offsets) or offsets[0] or np.any(np.diff(offsets) < 0):
        source.fail("the states of the FST do not share out its arcs in order", begin)
    elements = source.array(COMPACT_ELEMENT, int(offsets[-1]), "arcs")
    has_any = np.diff(offsets) > 0
    is_final = np.zeros(header.num_states, bool)
    is_final[has_any] = elements["label"][offsets[:-1][has_any]] == NO_LABEL
    final = np.full(header.num_states, np.inf, np.float32)
    places = offsets[:-1][is_final]
    final[is_final] = elements["weight"][places]
    if np.any(elements["nextstate"][places] != -1) or np.any(final[is_final] == np.inf):
        source.fail("a final state of the FST has no cost, or leads on", begin)
    arcs = np.empty(len(elements) - len(places), ARC)
    is_arc = np.ones(len(elements), bool)
    is_arc[places] = False
    for name in ("weight", "nextstate"):
        arcs[name] = elements[name][is_arc]
    arcs["ilabel"] = arcs["olabel"] = elements["label"][is_arc]
    return final, offsets - np.concatenate([[0], np.cumsum(is_final)]), arcs


def _compact_states(fst: Fst) -> bytes:
    is_final = fst.final != np.inf
    offsets = fst.arc_offsets + np.concatenate([[0], np.cumsum(is_final)])
    elements = np.empty(int(offsets[-1]), COMPACT_ELEMENT)
    places = offsets[:-1][is_final]
    is_arc = np.ones(len(elements), bool)
    is_arc[places] = False
    elements["label"][places] = elements["nextstate"][places] = NO_LABEL
    elements["weight"][places] = fst.final[is_final]
    elements["label"][is_arc] = fst.ilabel
    elements["weight"][is_arc] = fst.weight
    elements["nextstate"][is_arc] = fst.nextstate
    return offsets.astype("<u4").tobytes() + elements.tobytes()


def _vector_states(fst: Fst) -> bytes:
    bounds = fst.arc_offsets.tolist()
    parts = []
    for final, begin, end in zip(fst.final.tolist(), bounds[:-1], bounds[1:], strict=True):
        parts += [struct.pack("<fq", final, end - begin), fst.arcs[begin:end].tobytes()]
    return b"".join(parts)


def _read_text(reader: Reader) -> SupervisionFst:
    """Reads lines up to an empty one; the first of them names the start."""
    begin = reader.position
    if strip(reader.line()):
        reader.fail("expected an FST, which begins with an empty line", begin)
    arcs: list[tuple[int, int, int, float, int]] = []
    final: dict[int, float] = {}
    start, largest = -1, -1
    while line := split_words(reader.line()):
        try:
            numbers = [to_integer(word) for word in line[: 4 if len(line) > 3 else 1]]
            weight = to_real(line[len(numbers)]) if len(line) > len(numbers) else 0.0
        except ValueError:
            numbers = []
        if len(line) not in (1, 2, 4, 5) or not numbers or min(numbers) < 0:
            reader.fail(f"a line of the FST is no state, arc or final cost: {' '.join(line)[:80]!r}", begin)
        start = numbers[0] if start < 0 else start
        largest = max(largest, *numbers[:2]) if len(numbers) == 4 else max(largest, numbers[0])
        if len(numbers) == 4:
            arcs.append((numbers[0], numbers[2], numbers[3], weight, numbers[1]))
        else:
            final[numbers[0]] = weight
    return _from_lists(reader, begin, start, largest + 1, arcs, final)


def _from_lists(
    reader: Reader,
    begin: int,
    start: int,
    num_states: int,
    arcs: list[tuple[int, int, int, float, int]],
    final: dict[int, float],
) -> SupervisionFst:
    if num_states > len(arcs) + len(final) + 1:
        reader.fail(f"the FST has {num_states} states and only {len(arcs)} arcs", begin)
    arcs.sort(key=lambda arc: arc[0])
    finals = np.full(num_states, np.inf, np.float32)
    with np.errstate(over="ignore"):
        finals[list(final)] = list(final.values())
        packed = np.array([arc[1:] for arc in arcs], ARC)
    counts = np.bincount(np.array([arc[0] for arc in arcs], np.int64), minlength=num_states)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    fst = SupervisionFst(start, finals, offsets, packed)
    check_fst(fst, _Part(reader), begin)
    return fst


def compute_state_times(fst: Fst) -> np.ndarray:
    """The frame that each state begins: (states,) int64, rising with the state's number.

    Raises:
        ValueError: there is a state that the start does not lead to or that paths of different lengths do, the states
            are not in order of time, or ends of paths differ in time.

    Source: ``ComputeFstStateTimes`` in ``src/chain/chain-supervision.cc``.
    """
    source, target = fst.source, fst.nextstate
    before = np.zeros(fst.num_states, np.int64)
    before[target[::-1]] = source[::-1]
    times = (np.arange(fst.num_states) != 0).astype(np.int64)
    before[0] = 0
    # Each round doubles the number of arcs that are looked back; a cycle would go on for ever.
    for _ in range(max(fst.num_states, 1).bit_length()):
        times += times[before]
        before = before[before]
        if not before.any():
            break
    reached = np.zeros(fst.num_states, bool)
    reached[0] = True
    reached[target] = True
    if fst.start != 0 or not reached.all() or np.any(times[target] != times[source] + 1) or np.any(np.diff(times) < 0):
        raise ValueError("its states are not ordered by time from state 0 on")
    ends = times[fst.final != np.inf]
    if not len(ends) or ends.min() != ends.max():
        raise ValueError("its paths are of different lengths, or none ends")
    return times
