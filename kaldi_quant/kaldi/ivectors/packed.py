"""Symmetric matrices, of which Kaldi's files hold the lower triangle, row by row.

Source: ``src/matrix/packed-matrix.cc``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kaldi_quant.kaldi.reader import BinaryReader, Reader

_TYPES: dict[str, np.dtype[Any]] = {"FP": np.dtype("<f4"), "DP": np.dtype("<f8")}


def read_symmetric(reader: Reader) -> np.ndarray:
    """Reads a symmetric matrix: (rows, rows) float64.

    Raises:
        FormatError: the file holds something else, or ends too early.
    """
    begin = reader.position
    if not isinstance(reader, BinaryReader):
        return _from_text(reader)
    kind = _TYPES[reader.expect(*_TYPES)]
    rows = reader.int32()
    count = rows * (rows + 1) // 2
    left = len(reader.data) - reader.position
    if rows < 0 or count * kind.itemsize > left:
        reader.fail(f"a symmetric matrix of {rows} rows does not fit into the {left} bytes that are left", begin)
    values = np.frombuffer(reader.data, kind, count, reader.position)
    reader.position += values.nbytes
    with np.errstate(invalid="ignore"):  # A signalling NaN is told by who reads the matrix.
        return unpacked(values.astype(np.float64))


def _from_text(reader: Reader) -> np.ndarray:
    """In text a row has one value more than the one before it."""
    begin = reader.position
    end = reader.data.find(b"]", begin)
    body = reader.data[begin : max(end, begin)].strip()
    if end < 0 or not body.startswith(b"["):
        reader.fail("expected a symmetric matrix, which begins with [ and ends with ]", begin)
    rows = [row.split() for row in body[1:].split(b"\n") if row.strip()]
    if [len(row) for row in rows] != list(range(1, len(rows) + 1)):
        reader.fail("expected rows of 1, 2, 3 and so on values, the lower triangle of a symmetric matrix", begin)
    try:
        values = np.array([float(word) for row in rows for word in row], np.float64)
    except ValueError:
        reader.fail("a symmetric matrix holds something that is not a number", begin)
    reader.position = end + 1
    return unpacked(values)


def unpacked(values: np.ndarray) -> np.ndarray:
    """A symmetric matrix (rows, rows) from its lower triangle, (rows · (rows + 1) / 2,)."""
    rows = (int(np.sqrt(8 * values.size + 1)) - 1) // 2
    found = np.zeros((rows, rows), values.dtype)
    found[np.tril_indices(rows)] = values
    return found + np.tril(found, -1).T
