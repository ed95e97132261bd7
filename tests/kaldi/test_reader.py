"""Kaldi's basic types, read: what is there, and what is wrong with what is there."""

import struct
import sys
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import FormatError
from kaldi_quant.kaldi.reader import BinaryReader, Reader, TextReader, open_reader

INT = struct.Struct("<bi").pack


def binary(data: bytes) -> BinaryReader:
    return BinaryReader(data, "model", start=2)


def text(data: str) -> TextReader:
    return TextReader(data.encode(), "model")


@pytest.mark.parametrize("value", [0, 1, -1, 2**31 - 1, -(2**31)])
def test_integers(value: int) -> None:
    assert binary(INT(4, value)).int32() == value
    assert text(f" {value} ").int32() == value


def test_unsigned_integers() -> None:
    assert binary(struct.pack("<bI", -4, 2**32 - 1)).uint32() == 2**32 - 1
    assert text("4294967295 ").uint32() == 2**32 - 1


def test_scalars_keep_the_width_of_a_binary_file() -> None:
    narrow, wide = binary(struct.pack("<bf", 4, 0.1)).float64(), binary(struct.pack("<bd", 8, 0.1)).float32()
    assert narrow.dtype == np.float32 and narrow == np.float32(0.1)
    assert wide.dtype == np.float64 and wide == 0.1
    assert text("0.1 ").float32().dtype == np.float32
    assert text("0.1 ").float64().dtype == np.float64


def test_booleans() -> None:
    assert binary(b"T").bool() is True
    assert binary(b"F").bool() is False
    assert text("T ").bool() is True


@pytest.mark.parametrize(("letter", "kind"), [(b"F", "<f4"), (b"D", "<f8")])
def test_arrays_keep_the_width_of_a_binary_file(letter: bytes, kind: str) -> None:
    values = np.arange(6, dtype=kind).reshape(2, 3)
    found = binary(letter + b"M " + INT(4, 2) + INT(4, 3) + values.tobytes()).matrix()
    assert np.array_equal(found, values) and found.dtype == values.dtype
    found = binary(letter + b"V " + INT(4, 6) + values.tobytes()).vector()
    assert np.array_equal(found, values.reshape(-1)) and found.dtype == values.dtype


def test_arrays_in_text_form() -> None:
    assert np.array_equal(text(" [ 1 2.5 -3e-2 ]\n").vector(), np.float32([1, 2.5, -3e-2]))
    assert np.array_equal(text(" [\n  1 2 \n  3 4 ]\n").matrix(), np.float32([[1, 2], [3, 4]]))
    assert text(" [ ]\n").matrix().shape == (0, 0)
    assert text(" [ ]\n").vector().shape == (0,)
    assert text(" [ 1 ]\n").vector(np.float64).dtype == np.float64
    assert np.isposinf(text(" [ inf 1e39 ]\n").vector()).all()


def test_every_text_form_of_a_matrix() -> None:
    square = np.float32([[1, 2], [3, 4]])
    for form in ("[ 1 2 ; 3 4 ]\n", "[\n 1 2\r\n\n 3 4\n]\r\n", " [ 1 2\n3 4]", "[ 1 2 ; 3 4 ; ]\n"):
        reader = text(form)
        assert np.array_equal(reader.matrix(), square) and reader.at_end()
    assert text("[ 1 2 ]\n").matrix().tolist() == [[1, 2]]
    assert text("[]\n").matrix().shape == (0, 0) and text("[ ; ]\n").matrix().shape == (0, 0)
    assert np.isnan(text("[ NaN ]\n").vector()).all() and np.isposinf(text("[ Infinity ]\n").vector()).all()


def test_vectors_of_integers_and_pairs() -> None:
    data = struct.pack("<4i", 3, -1, 7, 0)
    assert binary(INT(4, 4) + data).int_vector().tolist() == [3, -1, 7, 0]
    assert binary(INT(4, 2) + data).int_pairs().tolist() == [[3, -1], [7, 0]]
    assert text("[ 3 -1 7 ]\n").int_vector().tolist() == [3, -1, 7]
    assert text("[ 3,-1 7,0 ]\n").int_pairs().tolist() == [[3, -1], [7, 0]]


def test_tokens_and_lines() -> None:
    reader = text("<Nnet3> \ninput-node name=input\r\n\n<End> ")
    assert reader.peek_token() == "<Nnet3>"
    assert reader.expect("<Other>", "<Nnet3>") == "<Nnet3>"
    assert [reader.line() for _ in range(3)] == ["", "input-node name=input", ""]
    assert reader.token() == "<End>" and reader.at_end()
    assert reader.peek_token() == ""


@pytest.mark.parametrize(
    ("reader", "read", "sentence"),
    [
        (binary(b"\x05\1\0\0\0"), Reader.int32, "model, byte 2: expected an integer of 4 bytes, found width 5"),
        (binary(b"\x04\1\0"), Reader.int32, "model, byte 3: expected 4 bytes of an integer, found the end"),
        (binary(b""), Reader.bool, "expected 1 bytes of a boolean, found the end of the file"),
        (binary(b"X"), Reader.bool, "expected a boolean, T or F, found b'X'"),
        (binary(b"\x02abcd"), Reader.float32, "expected a float of 4 or 8 bytes, found width 2"),
        (binary(b"CM " + bytes(20)), Reader.matrix, r"expected a matrix \(FM or DM\), found 'CM'"),
        (binary(b"FV " + INT(4, 2**31 - 1)), Reader.vector, "a vector of 2147483647 does not fit into the 0 bytes"),
        (binary(b"FM " + INT(4, 2**30) + INT(4, 2**30)), Reader.matrix, "does not fit into the 0 bytes"),
        (binary(b"FM " + INT(4, -1) + INT(4, 3)), Reader.matrix, "a matrix of -1 x 3 does not fit"),
        (binary(INT(4, 2**31 - 1)), Reader.int_vector, "2147483647 integers do not fit into the 0 bytes"),
        (binary(INT(4, -1)), Reader.int_pairs, "-1 integers do not fit"),
        (text("x "), Reader.int32, "model, byte 0: expected an integer, found 'x'"),
        (text("2147483648 "), Reader.int32, "expected a 32-bit integer, found 2147483648"),
        (text("-1 "), Reader.uint32, "expected an unsigned 32-bit integer, found -1"),
        (text("1"), Reader.int32, "the file ends inside the token '1'"),
        (text(" \n "), Reader.token, "expected a token, found the end of the file"),
        (text("Y "), Reader.bool, "expected T or F, found 'Y'"),
        (text("0x "), Reader.float32, "expected a number, found '0x'"),
        (text("1 2"), Reader.vector, r"expected a vector, which begins with \["),
        (text(" [ 1 2"), Reader.vector, "the file ends inside a vector"),
        (text(" [ 1 b ]"), Reader.vector, "a vector holds something that is not a number"),
        (text(" [\n 1 2\n 3 ]"), Reader.matrix, "rows of 1 and of 2 columns"),
        (text(" [\n 1 2\n 3 4 ]"), Reader.vector, "expected a vector, which stands on one line, found a matrix"),
        (text("[ 1 ; 2 ]"), Reader.vector, "not a number"),
        (text("[ 1e39 ]"), Reader.vector, "too large a number"),
        (text("[ 1_0 ]"), Reader.matrix, "not a number"),
        (text("[ " + "1" * 101 + " ]"), Reader.vector, "not a number"),
        (text("[ 1_0 ]"), Reader.int_vector, "not a number"),
        (text("1_0 "), Reader.int32, "expected an integer, found '1_0'"),
        (text("\u0661 "), Reader.int32, "expected an integer"),
        (text("1_0 "), Reader.float32, "expected a number, found '1_0'"),
        (text("[ 1.5 ]"), Reader.int_vector, "not a number"),
        (text("[ 99999999999 ]"), Reader.int_vector, "not a number"),
        (text("[ 1,2 3 ]"), Reader.int_pairs, "odd number of integers"),
        (text("no newline"), Reader.line, "the file ends in the middle of a line"),
        (text("a" * 1001 + " "), Reader.token, "found 1001 bytes without white space"),
    ],
)
def test_wrong_data_is_answered_with_its_place(reader: Reader, read: Callable[[Reader], object], sentence: str) -> None:
    # The reader's own method, not the abstract one.
    method = getattr(reader, read.__name__)
    with pytest.raises(FormatError, match=sentence):
        method()


def test_counts_are_bounded_by_what_is_left() -> None:
    assert text("2 a b ").count("words", 2) == 2
    with pytest.raises(FormatError, match="3 words cannot follow in the 4 bytes"):
        text("3 a b ").count("words", 2)
    with pytest.raises(FormatError, match="-1 words cannot follow"):
        text("-1 a b ").count("words")


def test_unexpected_tokens_are_shortened() -> None:
    with pytest.raises(FormatError, match=r"expected <A> or <B>, found '<C+\.\.\.'"):
        text(f"<{'C' * 200}> ").expect("<A>", "<B>")


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\0B" + INT(4, 5))
    assert isinstance(open_reader(path), BinaryReader) and open_reader(path).int32() == 5
    path.write_bytes(b"\0B" + INT(3, 5))
    with pytest.raises(FormatError, match="file, byte 2: expected an integer of 4 bytes, found width 3"):
        open_reader(path).int32()
    path.write_text("5 ")
    assert isinstance(open_reader(path), TextReader) and open_reader(path).int32() == 5
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"7 ")))
    assert open_reader("-").int32() == 7


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"missing\.mdl: cannot be read: No such file"):
        open_reader(tmp_path / "missing.mdl")
    with pytest.raises(FormatError, match="cannot be read: Is a directory"):
        open_reader(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(FormatError, match="empty: the file is empty"):
        open_reader(tmp_path / "empty")
