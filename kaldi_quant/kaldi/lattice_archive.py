"""Archives of lattices, such as ``lat.1.gz``: binary and text, with or without gzip.

Source: ``CompactLatticeHolder`` and ``LatticeReader`` in ``src/lat/kaldi-lattice.cc``.
"""

import gzip
import os
import zlib
from collections.abc import Iterator

import numpy as np

from kaldi_quant.errors import DataError, FormatError
from kaldi_quant.kaldi.fst import FstBytes
from kaldi_quant.kaldi.lattice import CompactLattice, assemble
from kaldi_quant.kaldi.text import decode, split_lines, split_words, to_integer, to_real

_GZIP_MAGIC = b"\x1f\x8b"
_LONGEST_KEY = 4096

Cost = tuple[float, float]
# The rest of an arc: destination, word, costs, transition-ids.
Arc = tuple[int, int, Cost, list[int]]


def read_lattices(path: str | os.PathLike[str]) -> Iterator[tuple[str, CompactLattice]]:
    """Reads an archive of lattices, one at a time.

    Yields:
        (utterance, lattice).

    Raises:
        FormatError: the file is missing, truncated or malformed; names the utterance.
    """
    source = FstBytes(_read_bytes(os.fspath(path)), os.fspath(path))
    while source.left:
        utterance = _read_key(source)
        try:
            yield (
                utterance,
                _read_text(source) if source.data[source.position] == ord("\n") else CompactLattice.read(source),
            )
        except FormatError as error:
            raise DataError(f"utterance {utterance}: {error}") from error


def _read_bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            data = stream.read()
        return gzip.decompress(data) if data[:2] == _GZIP_MAGIC else data
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise FormatError(path, None, f"cannot be read: {reason}") from error


def _read_key(source: FstBytes) -> str:
    begin = source.position
    end = source.data.find(b" ", begin, begin + _LONGEST_KEY)
    key = source.data[begin:end]
    if end <= begin or end + 1 >= len(source.data) or len(key.split()) != 1 or b"\0" in key:
        source.fail("expected an utterance, a space and a lattice")
    source.position = end + 1
    return decode(key)


def _read_text(source: FstBytes) -> CompactLattice:
    """Reads the text form: an empty rest of a line, one line per arc or final state, and an empty line."""
    begin = source.position
    end = source.data.find(b"\n\n", begin)
    lines = split_lines(decode(bytes(source.data[begin + 1 : end + 1 if end >= 0 else None])))
    source.position = min(end + 2 if end >= 0 else len(source.data), len(source.data))
    try:
        states, start = _parse(lines)
    except (ValueError, IndexError) as error:
        source.fail(f"the text lattice that begins here has a malformed line ({error})", begin)
    arcs_of = [arcs for _, _, arcs in states]
    arcs = [arc for some in arcs_of for arc in some]
    lattice = assemble(
        start,
        [final for final, _, _ in states],
        [np.array(string, np.int32) for _, string, _ in states],
        np.cumsum([0] + [len(some) for some in arcs_of]).tolist(),
        [word for _, word, _, _ in arcs],
        [cost for _, _, cost, _ in arcs],
        [nextstate for nextstate, _, _, _ in arcs],
        [np.array(string, np.int32) for _, _, _, string in arcs],
    )
    problem = lattice.problem()
    if problem:
        source.fail(f"the lattice that begins here {problem}", begin)
    return lattice


def _parse(lines: list[str]) -> tuple[list[tuple[Cost, list[int], list[Arc]]], int]:
    """The states, (final costs, their string, arcs), and the start state, which is that of the first line."""
    finals: dict[int, tuple[Cost, list[int]]] = {}
    arcs: dict[int, list[Arc]] = {}
    start, largest = -1, -1
    # An arc of the compact form has four columns, the last with a comma; of the other form, five, or four without it.
    rows = [split_words(line) for line in lines]
    compact = not any(len(columns) > 3 and "," not in columns[3] for columns in rows)
    for columns in rows:
        state = to_integer(columns[0])
        start = state if start < 0 else start
        if len(columns) <= 2:
            finals[state] = _weight(columns[1]) if len(columns) == 2 else ((0.0, 0.0), [])
        else:
            nextstate, label = to_integer(columns[1]), to_integer(columns[2])
            if compact:
                cost, string = _weight(columns[3]) if len(columns) == 4 else ((0.0, 0.0), [])
                arcs.setdefault(state, []).append((nextstate, label, cost, string))
            else:
                cost, _ = _weight(columns[4]) if len(columns) == 5 else ((0.0, 0.0), [])
                arcs.setdefault(state, []).append((nextstate, to_integer(columns[3]), cost, [label] if label else []))
            largest = max(largest, nextstate)
        largest = max(largest, state)
        if min(state, largest) < 0 or largest > 2 * len(lines):
            raise ValueError(f"state {largest} in a lattice of {len(lines)} lines")
    infinite = ((np.inf, np.inf), list[int]())
    return [(*finals.get(state, infinite), arcs.get(state, [])) for state in range(largest + 1)], start


def _weight(text: str) -> tuple[Cost, list[int]]:
    """Takes ``graph,acoustic`` or ``graph,acoustic,1_2_3`` apart."""
    graph, acoustic, *rest = text.split(",")
    string = [to_integer(word) for word in rest[0].split("_")] if rest and rest[0] else []
    return (to_real(graph), to_real(acoustic)), string
