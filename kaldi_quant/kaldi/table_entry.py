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
from kaldi_quant.kaldi.text import decode

_LONGEST_KEY = 4096
_NUMBERS = b"0123456789+-.eE" + b"aAfFiInNtTyY" + b"[; \t\n\r\v\f"
_TYPES: dict[str, np.dtype[Any]] = {"F": np.dtype("<f4"), "D": np.dtype("<f8")}
_TOKENS = ("FM", "DM", "FV", "DV", "CM", "CM2", "CM3")


def read_key(stream: ByteStream) -> str | None:
    """Reads the key of an archive's next entry, and the space behind it; None at the end of the archive."""
    word = stream.read_word(_LONGEST_KEY, "an utterance and a space")
    if not word:
        return None
    begin = stream.position - len(word)
    key = decode(word)
    if not stream.peek(1):
        stream.fail(f"the archive ends behind the utterance {key}")
    if "\0" in key:
        stream.fail("expected an utterance, found binary data", begin)
    if stream.peek(1) != b"\n":
        stream.read(1)
    return key


def read_entry(stream: ByteStream, key: str, dimensions: int | None = None) -> np.ndarray:
    """Reads the matrix or vector at the stream's position.

    Args:
        stream: stands at the entry, behind its key.
        key: the utterance, for messages.
        dimensions: 2 where a matrix is wanted, 1 for a vector. The text form does not tell one row from a vector, and
            nothing from nothing; where it is not known, None, an entry of one row on one line is a vector.

    Returns:
        (rows, columns) or (dim,) float32, (0, 0) for a matrix without rows. The binary form says itself what it holds,
        which need not be what is wanted.

    Raises:
        DataError: the file holds something else, or ends too early; names utterance, file and byte offset.
    """
    try:
        first = stream.peek(1)
        if first == b"\0":
            return _read_binary(stream)
        if not first:
            stream.fail("expected a matrix or a vector, found the end of the file")
        return _read_text(stream, dimensions)
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


def _read_text(stream: ByteStream, dimensions: int | None) -> np.ndarray:
    stream.skip_space()
    begin = stream.position
    if stream.peek(1) != b"[":
        stream.fail("expected a matrix or a vector, found something else: does the offset fit this file?", begin)
    text = stream.read_through(b"]", _NUMBERS, "numbers in brackets")
    if not text.endswith(b"]"):
        stream.fail("the file ends inside a matrix in text form", begin)
    # Kaldi's readers take the end of the line that its writers make, and nothing more.
    if stream.peek(1) == b"\r":
        stream.read(1)
    if stream.peek(1) == b"\n":
        stream.read(1)
    reader = TextReader(bytes(text), stream.name, begin)
    if dimensions is None:
        dimensions = 2 if b"\n" in text or b";" in text else 1
    return reader.matrix() if dimensions == 2 else reader.vector()
