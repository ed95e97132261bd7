"""Kaldi's compressed matrices, unpacked to the same float32 values and packed to the same bytes as Kaldi's.

Source: ``src/matrix/compressed-matrix.h`` and ``compressed-matrix.cc``. The order and the width of each operation are
Kaldi's: another order moves the values by up to 4e-5, which shows in log-likelihoods.
"""

import struct
from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import DataError

# The size in bytes of the parts that follow the token: header, per-column header, and one value.
_HEADER = struct.Struct("<ffii")
HEADER_BYTES = _HEADER.size
_COLUMN_BYTES = {"CM": 8, "CM2": 0, "CM3": 0}
_VALUE_BYTES = {"CM": 1, "CM2": 2, "CM3": 1}
# Kaldi's own constant for 1 / 65535.
_PER_STEP = np.float32(1.52590218966964e-05)

# The first value of each of the three pieces of a CM column, and the reciprocal of the number of its steps.
_FIRST_OF_PIECE = np.array([0, 64, 192], np.uint8)
_SCALE_OF_PIECE = np.array([1 / 64.0, 1 / 128.0, 1 / 63.0], np.float64)
# The steps that the bytes of each piece stand for; 64 and 192 end the first two.
_STEPS_OF_PIECE = tuple(np.arange(begin, end, dtype=np.float32) for begin, end in ((0, 65), (1, 129), (1, 64)))


@dataclass(frozen=True)
class CompressedHeader:
    """GlobalHeader: the format's token, the smallest value and the range of all values, and the dimensions."""

    token: str
    min_value: np.float32
    range: np.float32
    rows: int
    columns: int

    @classmethod
    def unpack(cls, token: str, data: bytes | bytearray) -> "CompressedHeader":
        """Reads the header that follows the token ``CM``, ``CM2`` or ``CM3``, data: ``HEADER_BYTES`` bytes."""
        min_value, value_range, rows, columns = _HEADER.unpack(data)
        return cls(token, np.float32(min_value), np.float32(value_range), rows, columns)

    def pack(self) -> bytes:
        """The token and the header, as they stand in a file."""
        return self.token.encode() + b" " + _HEADER.pack(self.min_value, self.range, self.rows, self.columns)

    def data_bytes(self) -> int:
        """The number of bytes that follow the header."""
        return self.columns * (_COLUMN_BYTES[self.token] + self.rows * _VALUE_BYTES[self.token])


def decompress(header: CompressedHeader, data: bytes | bytearray) -> np.ndarray:
    """Unpacks what follows the header, data: ``header.data_bytes()`` bytes; returns (rows, columns) float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _decompress(header, data)


def _decompress(header: CompressedHeader, data: bytes | bytearray) -> np.ndarray:
    rows, columns = header.rows, header.columns
    if header.token == "CM":
        levels = np.frombuffer(data, "<u2", 4 * columns).reshape(columns, 4)
        percentiles = header.min_value + header.range * _PER_STEP * levels.astype(np.float32)
        values = np.frombuffer(data, np.uint8, rows * columns, 8 * columns).reshape(columns, rows)
        return _char_to_float(percentiles, values)
    steps, kind = (65535.0, "<u2") if header.token == "CM2" else (255.0, "u1")
    increment = np.float32(np.float64(header.range) * (1.0 / steps))
    values = np.frombuffer(data, kind, rows * columns).reshape(rows, columns)
    return header.min_value + values.astype(np.float32) * increment


def _char_to_float(percentiles: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Each column has three linear pieces between its 0th, 25th, 75th and 100th percentile.

    Args:
        percentiles: (columns, 4) float32.
        values: (columns, rows) uint8: 0..64, 64..192 and 192..255 stand for the three pieces.

    Returns:
        (rows, columns) float32.
    """
    columns = len(percentiles)
    # What each byte stands for in each column.
    table = np.empty((columns, 256), np.float32)
    for number, (steps, scale) in enumerate(zip(_STEPS_OF_PIECE, _SCALE_OF_PIECE, strict=True)):
        first, low = int(_FIRST_OF_PIECE[number]), percentiles[:, number, None]
        begin = first + (number > 0)
        offset = np.multiply(percentiles[:, number + 1, None] - low, steps, out=table[:, begin : begin + len(steps)])
        # Kaldi's scales are in double precision, of which powers of two in single precision make no difference.
        if float(np.float32(scale)) == scale:
            offset *= np.float32(scale)
            offset += low
        else:
            offset[:] = low + offset * scale
    places = values.T + 256 * np.arange(columns)
    # No place is outside: clipping saves a look at each.
    return table.reshape(-1).take(places, mode="clip")


def compress(matrix: np.ndarray) -> bytes:
    """Packs a matrix as Kaldi's ``copy-feats --compress=true`` does; returns its bytes behind the binary header.

    Args:
        matrix: (rows, columns) float32; more than 8 rows are packed into one byte per value, fewer into two.

    Raises:
        DataError: a value is infinite or not a number.
    """
    matrix = np.ascontiguousarray(matrix, np.float32)
    rows, columns = matrix.shape
    if matrix.size == 0:
        return CompressedHeader("CM", np.float32(0), np.float32(0), 0, 0).pack()
    low, high = matrix.min(), matrix.max()
    if not np.isfinite(high - low):
        raise DataError("a matrix with infinite values or values that are not numbers cannot be compressed")
    if low == high:
        high = np.float32(low + (1.0 + abs(np.float64(low))))
    header = CompressedHeader("CM" if rows > 8 else "CM2", low, high - low, rows, columns)
    if header.token == "CM2":
        return header.pack() + _float_to_uint16(header, matrix).astype("<u2").tobytes()
    levels = _percentiles(header, matrix)
    percentiles = header.min_value + header.range * _PER_STEP * levels.astype(np.float32)
    return header.pack() + levels.astype("<u2").tobytes() + _float_to_char(percentiles, matrix.T).tobytes()


def _float_to_uint16(header: CompressedHeader, values: np.ndarray) -> np.ndarray:
    """The level of each value between 0 and 65535, as int64."""
    share = np.clip((values - header.min_value) / header.range, np.float32(0), np.float32(1))
    return ((share * np.float32(65535)).astype(np.float64) + 0.499).astype(np.int64)


def _percentiles(header: CompressedHeader, matrix: np.ndarray) -> np.ndarray:
    """The levels of each column's 0th, 25th, 75th and 100th percentile, strictly rising: (columns, 4) int64."""
    rows = len(matrix)
    chosen = np.sort(matrix, axis=0)[[0, rows // 4, 3 * (rows // 4), rows - 1]]
    levels = _float_to_uint16(header, chosen).T
    levels[:, 0] = np.minimum(levels[:, 0], 65532)
    for number, largest in ((1, 65533), (2, 65534), (3, 65535)):
        levels[:, number] = np.minimum(np.maximum(levels[:, number], levels[:, number - 1] + 1), largest)
    return levels


def _float_to_char(percentiles: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The inverse of ``_char_to_float``, values: (columns, rows) float32."""
    piece = (values >= percentiles[:, 1:2]).astype(np.uint8) + (values >= percentiles[:, 2:3])
    low = np.take_along_axis(percentiles, piece, axis=1)
    high = np.take_along_axis(percentiles, piece + np.uint8(1), axis=1)
    steps = np.array([64, 128, 63], np.float32)[piece]
    share = (values - low) / (high - low) * steps
    # Truncation towards zero, as C++ converts to int.
    offset = np.clip(np.trunc(share.astype(np.float64) + 0.5), 0, steps)
    return (_FIRST_OF_PIECE[piece] + offset).astype(np.uint8)
