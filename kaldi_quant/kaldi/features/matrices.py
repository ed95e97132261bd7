"""Matrices of double precision: normalisation statistics and transforms, one in a file, or many in a table.

The tables of features, which ``tables`` reads, are of single precision; sums over a speaker's frames need more.
"""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from kaldi_quant.errors import DataError, FormatError
from kaldi_quant.kaldi.reader import TextReader
from kaldi_quant.kaldi.script_file import ScriptEntry, read_script
from kaldi_quant.kaldi.specifiers import parse_rspecifier
from kaldi_quant.kaldi.streams import ByteStream, open_stream
from kaldi_quant.kaldi.table_entry import read_key

_TYPES: dict[bytes, np.dtype[Any]] = {b"\0BFM ": np.dtype("<f4"), b"\0BDM ": np.dtype("<f8")}
# A text of a matrix of 1000 x 1000 has less.
_LONGEST_TEXT = 1 << 25


def read_matrix_file(path: str) -> np.ndarray:
    """Reads a file that holds one matrix, binary or text, such as ``global_cmvn.stats``: (rows, columns) float64.

    Raises:
        FormatError: the file is missing, or holds something else.
    """
    stream = open_stream(path)
    try:
        return _read(stream)
    finally:
        stream.close()


class MatrixTable:
    """A table of matrices of double precision, read at once where it is an archive.

    Args:
        rspecifier: such as ``scp:data/test/cmvn.scp``.
        allow_pipes: whether commands in the rspecifier and in the scp run.

    Raises:
        UsageError: the rspecifier is malformed, or names a command and ``allow_pipes`` is False.
        FormatError: a file is missing, truncated or malformed.
    """

    def __init__(self, rspecifier: str, allow_pipes: bool = False) -> None:
        self.rspecifier, self._allow_pipes = rspecifier, allow_pipes
        parsed = parse_rspecifier(rspecifier)
        self._filename = parsed.filename
        self._entries = read_script(parsed.filename, allow_pipes) if parsed.script else {}
        self._values = {} if parsed.script else dict(_read_archive(parsed.filename, allow_pipes))

    @property
    def files(self) -> list[str]:
        """All files that it is read from."""
        return list(dict.fromkeys([self._filename, *(entry.filename for entry in self._entries.values())]))

    def get(self, key: str) -> np.ndarray:
        """The matrix of a key: (rows, columns) float64.

        Raises:
            DataError: the table does not hold the key, or its data is broken.
        """
        if key not in self._values:
            if key not in self._entries:
                raise DataError(f"{self.rspecifier} has no {key}")
            self._values[key] = self._read_entry(self._entries[key])
        return self._values[key]

    def _read_entry(self, entry: ScriptEntry) -> np.ndarray:
        try:
            stream = open_stream(entry.filename, self._allow_pipes)
            try:
                if entry.offset:
                    stream.seek(entry.offset)
                return entry.cut(_read(stream))
            finally:
                stream.close()
        except FormatError as error:
            raise DataError(f"{entry.key} ({entry.where}): {error}") from error


def _read_archive(filename: str, allow_pipes: bool) -> Iterator[tuple[str, np.ndarray]]:
    stream = open_stream(filename, allow_pipes)
    try:
        keys: set[str] = set()
        while (key := read_key(stream)) is not None:
            if key in keys:
                stream.fail(f"{key} is in this archive twice")
            keys.add(key)
            yield key, _read(stream)
        stream.finish()
    finally:
        stream.close()


def _read(stream: ByteStream) -> np.ndarray:
    if stream.peek(1) != b"\0":
        return _read_text(stream)
    begin = stream.position
    kind = _TYPES.get(bytes(stream.read_exact(5, "the type of a matrix")))
    if kind is None:
        stream.fail("expected a matrix (FM or DM)", begin)
    width, rows, width_again, columns = struct.unpack("<bibi", stream.read_exact(10, "the size of a matrix"))
    if (width, width_again) != (4, 4) or rows < 1 or columns < 1:
        stream.fail(f"a matrix of {rows} x {columns} is impossible here", begin)
    data = stream.read_exact(rows * columns * kind.itemsize, f"a matrix of {rows} x {columns}")
    # A signalling NaN is no error here; what cannot normalise is told by its user.
    with np.errstate(invalid="ignore"):
        return np.frombuffer(data, kind).reshape(rows, columns).astype(np.float64)


def _read_text(stream: ByteStream) -> np.ndarray:
    begin, text, line = stream.position, bytearray(), b""
    while b"]" not in line:
        line = stream.read_line(_LONGEST_TEXT)
        if not line or len(text) + len(line) >= _LONGEST_TEXT or (not text and not line.lstrip().startswith(b"[")):
            stream.fail("expected a matrix in Kaldi's form", begin)
        text += line
    values = TextReader(bytes(text), stream.name, begin).matrix(np.float64)
    if not values.size:
        stream.fail("expected a matrix, found an empty one", begin)
    return values
