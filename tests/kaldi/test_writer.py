"""Kaldi's basic types, written: the bytes that Kaldi writes, and what the reader finds in them."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.reader import BinaryReader, Reader, TextReader
from kaldi_quant.kaldi.writer import Writer, make_writer

MATRIX = np.float32([[1, 2.5], [-3e-5, 1e20]])
CASES: list[tuple[Callable[[Writer], None], bytes, str]] = [
    (lambda writer: writer.int32(-7), struct.pack("<bi", 4, -7), "-7 "),
    (lambda writer: writer.uint32(2**32 - 1), struct.pack("<bI", -4, 2**32 - 1), "4294967295 "),
    (lambda writer: writer.bool(True), b"T", "T "),
    (lambda writer: writer.float(np.float32(0.1)), struct.pack("<bf", 4, 0.1), "0.1 "),
    (lambda writer: writer.float(np.float64(1234567.89)), struct.pack("<bd", 8, 1234567.89), "1234568 "),
    (lambda writer: writer.token("<Dim>"), b"<Dim> ", "<Dim> "),
    (lambda writer: writer.line("name=ü"), "name=ü\n".encode(), "name=ü\n"),
    (lambda writer: writer.newline(), b"", "\n"),
    (lambda writer: writer.vector(MATRIX[0]), b"FV \4\2\0\0\0" + MATRIX[0].tobytes(), " [ 1 2.5 ]\n"),
    (
        lambda writer: writer.matrix(MATRIX),
        b"FM \4\2\0\0\0\4\2\0\0\0" + MATRIX.tobytes(),
        " [\n  1 2.5 \n  -3e-05 1e+20 ]\n",
    ),
    (
        lambda writer: writer.vector(np.float64([np.inf, np.nan])),
        b"DV \4\2\0\0\0" + np.float64([np.inf, np.nan]).tobytes(),
        " [ inf nan ]\n",
    ),
    (lambda writer: writer.matrix(np.zeros((0, 0), np.float32)), b"FM \4\0\0\0\0\4\0\0\0\0", " [ ]\n"),
    (lambda writer: writer.vector(np.zeros(0, np.float32)), b"FV \4\0\0\0\0", " [ ]\n"),
    (lambda writer: writer.int_vector(np.int32([3, -1])), struct.pack("<b3i", 4, 2, 3, -1), "[ 3 -1 ]\n"),
    (lambda writer: writer.int_pairs(np.int32([[3, -1]])), struct.pack("<b3i", 4, 1, 3, -1), "[ 3,-1 ]\n"),
]


@pytest.mark.parametrize(("write", "binary", "text"), CASES)
def test_bytes(write: Callable[[Writer], None], binary: bytes, text: str) -> None:
    for form, expected in ((True, b"\0B" + binary), (False, text.encode())):
        writer = make_writer(form)
        write(writer)
        assert writer.getvalue() == expected


@pytest.mark.parametrize("binary", [True, False])
def test_the_reader_finds_what_was_written(binary: bool) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((3, 5)).astype(np.float32)
    pairs = rng.integers(-9, 9, (4, 2)).astype(np.int32)
    writer = make_writer(binary)
    writer.matrix(matrix)
    writer.int_pairs(pairs)
    writer.token("<Count>")
    writer.float(np.float64(0.5))
    writer.vector(matrix[0])
    writer.bool(False)
    data = writer.getvalue()
    reader: Reader = BinaryReader(data[2:], "file", 2) if binary else TextReader(data, "file")
    assert np.allclose(reader.matrix(), matrix, rtol=0 if binary else 1e-6)
    assert np.array_equal(reader.int_pairs(), pairs)
    assert reader.expect("<Count>") and reader.float64() == 0.5
    assert np.allclose(reader.vector(), matrix[0], rtol=0 if binary else 1e-6)
    assert reader.bool() is False
    assert reader.at_end()


def test_saving(tmp_path: Path) -> None:
    writer = make_writer(True)
    writer.int32(1)
    writer.save(tmp_path / "new" / "file")
    assert (tmp_path / "new" / "file").read_bytes() == writer.getvalue()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]
    with pytest.raises(DataError, match="cannot write"):
        writer.save(tmp_path / "new" / "file" / "below a file")
