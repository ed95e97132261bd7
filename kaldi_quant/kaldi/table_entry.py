"""One matrix or vector of a table, read in every form in which Kaldi writes it.

Dimensions are checked against the bytes that are left before anything is allocated.
Source: ``Matrix::Read`` and ``Vector::Read`` in ``src/matrix``, ``src/matrix/compressed-matrix.cc``.
"""

import struct
from typing import Any

import numpy as np

from kaldi_quant.errors import DataError, FormatError
from kaldi_quant.kaldi.compressed_matrix import HEADER_BYTES, CompressedHeader, decompress
from kaldi_quant.kaldi.reader import TextReader
from kaldi_quant.kaldi.streams import ByteStream

_LONGEST_KEY = 4096
_LONGEST_LINE = 1 << 26
_TYPES: dict[str, np.dtype[Any]] = {"F": np.dtype("<f4"), "D": np.dtype("<f8")}
_TOKENS = ("FM", "DM", "FV", "DV", "CM", "CM2", "CM3")


def read_key(stream: ByteStream) -> str | None:
    """Reads the key of an archive's next entry, and the space behind it; None at the end of the archive."""
    word = stream.read_word(_LONGEST_KEY, "an utterance and a space")
    if not word:
        return None
    begin = stream.position - len(word)
    try:
        key = word.decode("utf-8")
    except UnicodeDecodeError:
        stream.fail("expected an utterance, found bytes that are not UTF-8", begin)
    if not stream.peek(1):
        stream.fail(f"the archive ends behind the utterance {key}")
    if "\0" in key:
        stream.fail("expected an utterance, found binary data", begin)
    if stream.peek(1) != b"\n":
        stream.read(1)
    return key


def read_entry(stream: ByteStream, key: str) -> np.ndarray:
    """Reads the matrix or vector at the stream's position, key: the utterance, for messages.

    Returns:
        (rows, columns) or (dim,) float32; a text entry on one line is a vector.

    Raises:
        DataError: the file holds something else, or ends too early; names utterance, file and byte offset.
    """
    try:
        first = stream.peek(1)
        if first == b"\0":
            return _read_binary(stream)
        if not first:
            stream.fail("expected a matrix or a vector, found the end of the file")
        return _read_text(stream)
    except FormatError as error:
        raise DataError(f"utterance {key}: {error}") from error


def _read_binary(stream: ByteStream) -> np.ndarray:
    begin = stream.position
    if stream.read_exact(2, "Kaldi's binary header") != b"\0B":
        stream.fail("expected a matrix or a vector, found other binary data", begin)
    token = ""
    while len(token) < 4 and not token.endswith(" "):
        token += stream.read_exact(1, "the type of a matrix").decode("latin-1")
    token = token.removesuffix(" ")
    if token not in _TOKENS:
        stream.fail(f"expected a matrix or a vector ({', '.join(_TOKENS)}), found {token!r}", begin)
    if token.startswith("C"):
        header = CompressedHeader.unpack(token, stream.read_exact(HEADER_BYTES, "the header of a compressed matrix"))
        _check_shape(stream, (header.rows, header.columns), begin)
        return decompress(header, stream.read_exact(header.data_bytes(), _describe((header.rows, header.columns))))
    shape = tuple(_read_dimension(stream) for _ in range(2 if token[1] == "M" else 1))
    _check_shape(stream, shape, begin)
    kind = _TYPES[token[0]]
    number = int(np.prod(shape, dtype=object)) * kind.itemsize
    values = np.frombuffer(stream.read_exact(number, _describe(shape)), kind).reshape(shape)
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)


def _read_dimension(stream: ByteStream) -> int:
    width, number = struct.unpack("<bi", stream.read_exact(5, "a dimension"))
    if width != 4:
        stream.fail(f"expected a dimension of 4 bytes, found one of {width}", stream.position - 5)
    return int(number)


def _describe(shape: tuple[int, ...]) -> str:
    return f"a matrix of {shape[0]} x {shape[1]}" if len(shape) == 2 else f"a vector of {shape[0]}"


def _check_shape(stream: ByteStream, shape: tuple[int, ...], begin: int) -> None:
    """A matrix without columns has no rows either, so that no shape is larger than its data."""
    if min(shape) < 0 or (0 in shape and any(shape)):
        stream.fail(f"{_describe(shape)} is impossible", begin)


def _read_text(stream: ByteStream) -> np.ndarray:
    begin = stream.position
    text, line = bytearray(), b""
    while b"]" not in line:
        line = stream.read_line(_LONGEST_LINE)
        if not text and not line.lstrip().startswith(b"["):
            stream.fail("expected a matrix or a vector, found something else: does the offset fit this file?", begin)
        if not line:
            stream.fail("the file ends inside a matrix in text form", begin)
        if len(line) == _LONGEST_LINE:
            stream.fail(f"a line of more than {_LONGEST_LINE} bytes is no row of a matrix", begin)
        text += line
    reader = TextReader(bytes(text), stream.name, begin)
    rows = text.strip().count(b"\n")
    values = reader.matrix() if rows else reader.vector()
    if not reader.at_end():
        reader.fail("expected a new line behind ]")
    return values
