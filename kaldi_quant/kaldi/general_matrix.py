"""Matrices in one of three forms: full, compressed or sparse; the features of Kaldi's examples.

What is read is kept in its own form, so that it is written back byte for byte; the text form knows no compressed
matrices. Source: ``GeneralMatrix`` and ``SparseMatrix`` in ``src/matrix/sparse-matrix.cc``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.compressed_matrix import HEADER_BYTES, CompressedHeader, compress, decompress
from kaldi_quant.kaldi.reader import BinaryReader, Reader
from kaldi_quant.kaldi.writer import BinaryWriter, Writer

_COMPRESSED = ("CM", "CM2", "CM3")
# An element of a sparse vector: a column and a value, each behind the byte that states its width.
_ELEMENT = {
    width: np.dtype([("column_width", "i1"), ("column", "<i4"), ("value_width", "i1"), ("value", f"<f{width}")])
    for width in (4, 8)
}
_SMALLEST_ROW = len(b"SV ") + 2 * 5


class GeneralMatrix(ABC):
    """A matrix in the form that its file has."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @abstractmethod
    def dense(self) -> np.ndarray:
        """The values: (rows, columns) float32."""

    @abstractmethod
    def write(self, writer: Writer) -> None:
        """Writes the matrix in its own form."""

    def compressed(self) -> GeneralMatrix:
        """The matrix packed, where it was full: as Kaldi's ``GeneralMatrix::Compress``."""
        return self

    @staticmethod
    def read(reader: Reader) -> GeneralMatrix:
        """Reads a matrix of any form.

        Raises:
            FormatError: the file holds something else, or ends too early.
        """
        if isinstance(reader, BinaryReader):
            token = reader.peek_token()
            if token in _COMPRESSED:
                return CompressedMatrix.read(reader)
            if token == "SM":
                return SparseMatrix.read(reader)
        elif reader.peek_token().startswith("rows="):
            return SparseMatrix.read(reader)
        return FullMatrix(reader.matrix())


@dataclass
class FullMatrix(GeneralMatrix):
    """A matrix of floats, values: (rows, columns) float32 or float64."""

    values: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    def dense(self) -> np.ndarray:
        with np.errstate(over="ignore"):
            return self.values.astype(np.float32, copy=False)

    def compressed(self) -> GeneralMatrix:
        return CompressedMatrix.compress(self.dense()) if self.values.size else self

    def write(self, writer: Writer) -> None:
        writer.matrix(self.values)


@dataclass
class CompressedMatrix(GeneralMatrix):
    """A matrix in one or two bytes per value.

    Args:
        header: the format, the range of the values and the dimensions.
        data: what follows the header.
    """

    header: CompressedHeader
    data: bytes

    @classmethod
    def compress(cls, values: np.ndarray) -> CompressedMatrix:
        """Packs values, (rows, columns) float32, as Kaldi does.

        Raises:
            DataError: a value is infinite or not a number.
        """
        return cls.read(BinaryReader(compress(values), "a compressed matrix"))

    @classmethod
    def read(cls, reader: Reader) -> CompressedMatrix:
        """Reads the token, the header and the data."""
        begin = reader.position
        token = reader.expect(*_COMPRESSED)
        if len(reader.data) - reader.position < HEADER_BYTES:
            reader.fail("the file ends inside the header of a compressed matrix")
        header = CompressedHeader.unpack(token, reader.data[reader.position : reader.position + HEADER_BYTES])
        reader.position += HEADER_BYTES
        rows, columns = header.rows, header.columns
        if min(rows, columns) < 0 or (0 in (rows, columns) and (rows, columns) != (0, 0)):
            reader.fail(f"a compressed matrix of {rows} x {columns} is impossible", begin)
        size, left = header.data_bytes(), len(reader.data) - reader.position
        if size > left:
            reader.fail(f"a compressed matrix of {rows} x {columns} does not fit into the {left} bytes that are left")
        data = reader.data[reader.position : reader.position + size]
        reader.position += size
        return cls(header, data)

    @property
    def shape(self) -> tuple[int, int]:
        return self.header.rows, self.header.columns

    def dense(self) -> np.ndarray:
        return decompress(self.header, self.data)

    def write(self, writer: Writer) -> None:
        if isinstance(writer, BinaryWriter):
            writer.raw(self.header.pack() + self.data)
        else:
            writer.matrix(self.dense())


@dataclass
class SparseMatrix(GeneralMatrix):
    """A matrix of which each row names the columns that are not zero.

    Args:
        columns: of the whole matrix.
        row_offsets: (rows + 1,) int64: the elements of row r are ``[row_offsets[r]:row_offsets[r + 1]]``.
        indices: (elements,) int32, the column of each.
        values: (elements,) float32 or float64.
    """

    columns: int
    row_offsets: np.ndarray
    indices: np.ndarray
    values: np.ndarray

    @classmethod
    def read(cls, reader: Reader) -> SparseMatrix:
        """Reads either form."""
        begin = reader.position
        if isinstance(reader, BinaryReader):
            reader.expect("SM")
            rows = [_read_row(reader) for _ in range(reader.count("sparse rows", _SMALLEST_ROW))]
        else:
            number = _named_number(reader, "rows=")
            if number > len(reader.data) - reader.position:
                reader.fail(f"{number} sparse rows cannot follow in the rest of the file", begin)
            rows = [_read_row_text(reader) for _ in range(number)]
        dims = {dim for dim, _, _ in rows}
        if len(dims) > 1:
            reader.fail(f"a sparse matrix has rows of {min(dims)} and of {max(dims)} columns", begin)
        offsets = np.concatenate([[0], np.cumsum([len(indices) for _, indices, _ in rows], dtype=np.int64)])
        indices = np.concatenate([indices for _, indices, _ in rows] or [np.zeros(0, np.int32)])
        values = np.concatenate([values for _, _, values in rows] or [np.zeros(0, np.float32)])
        return cls(next(iter(dims), 0), offsets.astype(np.int64), indices, values)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.row_offsets) - 1, self.columns

    def dense(self) -> np.ndarray:
        dense = np.zeros(self.shape, np.float32)
        rows = np.repeat(np.arange(len(dense)), np.diff(self.row_offsets))
        with np.errstate(over="ignore"):
            dense[rows, self.indices] = self.values
        return dense

    def write(self, writer: Writer) -> None:
        binary = isinstance(writer, BinaryWriter)
        if binary:
            writer.token("SM")
            writer.int32(self.shape[0])
        else:
            writer.token(f"rows={self.shape[0]}")
        for begin, end in zip(self.row_offsets[:-1], self.row_offsets[1:], strict=True):
            indices, values = self.indices[begin:end], self.values[begin:end]
            if binary:
                writer.token("SV")
                writer.int32(self.columns)
                writer.int32(len(indices))
                width = values.dtype.itemsize
                elements = np.empty(len(indices), _ELEMENT[width])
                elements["column_width"], elements["value_width"] = 4, width
                elements["column"], elements["value"] = indices, values
                writer.raw(elements.tobytes())
            else:
                pairs = "".join(f"{index} {value:.7g} " for index, value in zip(indices, values, strict=True))
                writer.token(f"dim={self.columns} [ {pairs}]")
        writer.newline()


def _read_row(reader: Reader) -> tuple[int, np.ndarray, np.ndarray]:
    """A SparseVector in binary form: its dimension, columns and values."""
    reader.expect("SV")
    begin = reader.position
    dim = reader.int32()
    number = reader.count("elements of a sparse vector", _ELEMENT[4].itemsize)
    wide = number and reader.data[reader.position + 5] == 8
    kind = _ELEMENT[8 if wide else 4]
    left = len(reader.data) - reader.position
    if number * kind.itemsize > left:
        reader.fail(f"{number} elements of a sparse vector do not fit into the {left} bytes that are left", begin)
    elements = np.frombuffer(reader.data, kind, number, reader.position)
    if np.any(elements["column_width"] != 4) or np.any(elements["value_width"] != kind["value"].itemsize):
        reader.fail("the elements of a sparse vector are not integers of 4 bytes and floats")
    _check_columns(reader, elements["column"], dim, begin)
    reader.position += elements.nbytes
    return dim, elements["column"].copy(), elements["value"].copy()


def _read_row_text(reader: Reader) -> tuple[int, np.ndarray, np.ndarray]:
    begin = reader.position
    dim = _named_number(reader, "dim=")
    reader.expect("[")
    indices: list[int] = []
    values: list[np.floating] = []
    while reader.peek_token() != "]":
        indices.append(reader.int32())
        values.append(reader.float32())
    reader.expect("]")
    columns = np.array(indices, np.int32)
    _check_columns(reader, columns, dim, begin)
    return dim, columns, np.array(values, np.float32)


def _check_columns(reader: Reader, columns: np.ndarray, dim: int, position: int) -> None:
    if dim < 0 or np.any(columns < 0) or np.any(columns >= dim):
        reader.fail(f"a sparse vector of dimension {dim} has an element outside", position)


def _named_number(reader: Reader, name: str) -> int:
    """Reads a word such as ``rows=10``."""
    position = reader.position
    word = reader.token()
    digits = word.removeprefix(name)
    if digits == word or not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        reader.fail(f"expected {name} and a number, found {word[:40]!r}", position)
    return int(digits)


def append_rows(matrices: list[GeneralMatrix]) -> GeneralMatrix:
    """Puts matrices below each other: sparse if all are, full otherwise, as Kaldi's ``AppendGeneralMatrixRows``.

    Raises:
        DataError: they differ in columns.
    """
    dims = {matrix.shape[1] for matrix in matrices if matrix.shape[0]}
    if len(dims) > 1:
        raise DataError(f"matrices of {min(dims)} and of {max(dims)} columns cannot be put below each other")
    sparse = [matrix for matrix in matrices if isinstance(matrix, SparseMatrix)]
    if len(sparse) < len(matrices):
        return FullMatrix(np.concatenate([matrix.dense() for matrix in matrices]))
    sizes = np.concatenate([np.diff(matrix.row_offsets) for matrix in sparse])
    return SparseMatrix(
        next(iter(dims), 0),
        np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]),
        np.concatenate([matrix.indices for matrix in sparse]),
        np.concatenate([matrix.values for matrix in sparse]),
    )
