"""Kaldi's basic types, read from a file in memory, in binary or text form.

Source: ``src/base/io-funcs.cc``, ``src/base/io-funcs-inl.h``, ``src/matrix/kaldi-vector.cc`` and
``kaldi-matrix.cc`` of Kaldi. Both readers answer the same calls, so that a file format is described once.
Sizes are checked against the bytes that are left before anything is allocated.
"""

import contextlib
import os
import re
import struct
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from kaldi_quant.errors import FormatError
from kaldi_quant.kaldi.text import decode, to_integer, to_real

Floats = type[np.float32] | type[np.float64]

_SPACE = b" \t\n\r\v\f"
_LONGEST_TOKEN = 1000
_LONGEST_NUMBER = 100
_FLOAT_TYPES: dict[bytes, np.dtype[Any]] = {b"F": np.dtype("<f4"), b"D": np.dtype("<f8")}


class Reader(ABC):
    """Reads Kaldi's basic types one after the other.

    Args:
        data: the whole file, without the binary header.
        path: the file's name, for messages.
        start: the offset of ``data`` in the file, for messages.

    Every method raises FormatError, with the file and the byte offset, where the file holds something else.
    """

    def __init__(self, data: bytes, path: str, start: int = 0) -> None:
        self.data = data
        self.path = path
        self.position = 0
        self._start = start

    def fail(self, message: str, position: int | None = None) -> NoReturn:
        """Raises FormatError at ``position``, by default the current one."""
        raise FormatError(self.path, self._start + (self.position if position is None else position), message)

    def at_end(self) -> bool:
        """True when only white space is left."""
        return not self.data[self.position :].strip(_SPACE)

    def token(self) -> str:
        """Reads a token: bytes up to the next white space, which is eaten."""
        begin, end = self._next_word()
        self.position = end + 1
        return decode(self.data[begin:end])

    def peek_token(self) -> str:
        """The next token, left in place; empty at the end of the file or where no token stands."""
        position = self.position
        try:
            return self.token()
        except FormatError:
            return ""
        finally:
            self.position = position

    def expect(self, *tokens: str) -> str:
        """Reads a token that must be one of ``tokens`` and returns it."""
        position = self.position
        found = self.token()
        if found not in tokens:
            self.fail(f"expected {' or '.join(tokens)}, found {_shorten(found)}", position)
        return found

    def line(self) -> str:
        """Reads up to and including the next newline and returns the line without it."""
        end = self.data.find(b"\n", self.position)
        if end < 0:
            self.fail("the file ends in the middle of a line")
        text = self.data[self.position : end]
        self.position = end + 1
        return decode(text).rstrip("\r")

    def count(self, what: str, smallest_item: int = 1) -> int:
        """Reads an int32 that counts items of at least ``smallest_item`` bytes each, all of which must still follow."""
        position = self.position
        number = self.int32()
        left = len(self.data) - self.position
        if not 0 <= number <= left // smallest_item:
            self.fail(f"{number} {what} cannot follow in the {left} bytes that are left", position)
        return number

    def _next_word(self) -> tuple[int, int]:
        """The half-open byte range of the next word; the reader does not move."""
        match = _WORD.match(self.data, self.position)
        if match is None:
            self.fail("expected a token, found the end of the file")
        begin, end = match.span(1)
        if end - begin > _LONGEST_TOKEN:
            self.fail(f"expected a token, found {end - begin} bytes without white space", begin)
        if end >= len(self.data):
            word = self.data[begin:end].decode("utf-8", "replace")
            self.fail(f"the file ends inside the token {_shorten(word)}", begin)
        return begin, end

    @abstractmethod
    def int32(self) -> int:
        """Reads a signed 32-bit integer."""

    @abstractmethod
    def uint32(self) -> int:
        """Reads an unsigned 32-bit integer."""

    @abstractmethod
    def bool(self) -> bool:
        """Reads a boolean."""

    @abstractmethod
    def float32(self) -> np.floating:
        """Reads a scalar that Kaldi writes as float; a binary file's own width is kept."""

    @abstractmethod
    def float64(self) -> np.floating:
        """Reads a scalar that Kaldi writes as double; a binary file's own width is kept."""

    @abstractmethod
    def vector(self, kind: Floats = np.float32) -> np.ndarray:
        """Reads a vector: (dim,) of the width that a binary file says, or of ``kind`` in a text file."""

    @abstractmethod
    def matrix(self, kind: Floats = np.float32) -> np.ndarray:
        """Reads a matrix: (rows, columns) of the width that a binary file says, or of ``kind`` in a text file."""

    @abstractmethod
    def int_vector(self) -> np.ndarray:
        """Reads a vector of integers: (n,) int32."""

    @abstractmethod
    def int_pairs(self) -> np.ndarray:
        """Reads a vector of pairs of integers: (n, 2) int32."""


class BinaryReader(Reader):
    """Reads Kaldi's binary form."""

    def _take(self, size: int, what: str) -> bytes:
        chunk = self.data[self.position : self.position + size]
        if len(chunk) < size:
            self.fail(f"expected {size} bytes of {what}, found the end of the file after {len(chunk)}")
        self.position += size
        return chunk

    def _sized(self, code: str, what: str, *widths: int) -> int:
        """Reads the byte that states a number's width (negative for unsigned) and checks it."""
        position = self.position
        width = int(struct.unpack(code, self._take(1, what))[0])
        if width not in widths:
            expected = " or ".join(str(abs(w)) for w in widths)
            self.fail(f"expected {what} of {expected} bytes, found width {width}", position)
        return width

    def int32(self) -> int:
        self._sized("b", "an integer", 4)
        return int(struct.unpack("<i", self._take(4, "an integer"))[0])

    def uint32(self) -> int:
        self._sized("b", "an unsigned integer", -4)
        return int(struct.unpack("<I", self._take(4, "an unsigned integer"))[0])

    def bool(self) -> bool:
        position = self.position
        value = self._take(1, "a boolean")
        if value not in (b"T", b"F"):
            self.fail(f"expected a boolean, T or F, found {value!r}", position)
        return value == b"T"

    def float32(self) -> np.floating:
        width = self._sized("b", "a float", 4, 8)
        return np.frombuffer(self._take(width, "a float"), "<f4" if width == 4 else "<f8")[0]

    float64 = float32

    def _array(self, kind: bytes, dimensions: int) -> np.ndarray:
        position = self.position
        header = self.token().encode("utf-8", "replace")
        element = _FLOAT_TYPES.get(header[:1])
        name = "vector" if dimensions == 1 else "matrix"
        if element is None or header[1:] != kind:
            expected = " or ".join((prefix + kind).decode() for prefix in _FLOAT_TYPES)
            self.fail(f"expected a {name} ({expected}), found {_shorten(header.decode('utf-8', 'replace'))}", position)
        shape = [self.int32() for _ in range(dimensions)]
        left = len(self.data) - self.position
        if min(shape) < 0 or int(np.prod(shape, dtype=object)) * element.itemsize > left:
            size = " x ".join(map(str, shape))
            self.fail(f"a {name} of {size} does not fit into the {left} bytes that are left", position)
        values = np.frombuffer(self.data, element, int(np.prod(shape)), self.position)
        self.position += values.nbytes
        return values.reshape(shape).copy()

    def vector(self, kind: Floats = np.float32) -> np.ndarray:
        return self._array(b"V", 1)

    def matrix(self, kind: Floats = np.float32) -> np.ndarray:
        return self._array(b"M", 2)

    def _integers(self, per_item: int) -> np.ndarray:
        position = self.position
        self._sized("b", "a vector of integers", 4)
        number = struct.unpack("<i", self._take(4, "a vector's size"))[0]
        left = len(self.data) - self.position
        if not 0 <= number * 4 * per_item <= left:
            self.fail(f"{number} integers do not fit into the {left} bytes that are left", position)
        values = np.frombuffer(self.data, "<i4", number * per_item, self.position).copy()
        self.position += values.nbytes
        return values

    def int_vector(self) -> np.ndarray:
        return self._integers(1)

    def int_pairs(self) -> np.ndarray:
        return self._integers(2).reshape(-1, 2)


class TextReader(Reader):
    """Reads Kaldi's text form."""

    def _number(self, parse: Callable[[str], int | float], what: str, position: int, text: str) -> int | float:
        try:
            return parse(text)
        except ValueError:
            self.fail(f"expected {what}, found {_shorten(text)}", position)

    def int32(self) -> int:
        position = self.position
        value = int(self._number(_to_long, "an integer", position, self.token()))
        if not -(2**31) <= value < 2**31:
            self.fail(f"expected a 32-bit integer, found {value}", position)
        return value

    def uint32(self) -> int:
        position = self.position
        value = int(self._number(_to_long, "an unsigned integer", position, self.token()))
        if not 0 <= value < 2**32:
            self.fail(f"expected an unsigned 32-bit integer, found {value}", position)
        return value

    def bool(self) -> bool:
        return self.expect("T", "F") == "T"

    def float32(self) -> np.floating:
        position = self.position
        value = self._number(to_real, "a number", position, self.token())
        with np.errstate(over="ignore"):
            return np.float32(value)

    def float64(self) -> np.floating:
        position = self.position
        return np.float64(self._number(to_real, "a number", position, self.token()))

    def _brackets(self, what: str) -> bytes:
        """Reads ``[ … ]`` and the newline behind it; returns what stands between the brackets."""
        match = _OPENING.match(self.data, self.position)
        if match is None:
            self.fail(f"expected {what}, which begins with [")
        end = self.data.find(b"]", match.end())
        if end < 0:
            self.fail(f"the file ends inside {what}")
        body = self.data[match.end() : end]
        self.position = end + 1
        newline = _NEWLINE.match(self.data, self.position)
        if newline is not None:
            self.position = newline.end()
        return body

    def _parse(self, body: bytes, what: str, kind: type[np.generic], separator: bytes | None = None) -> np.ndarray:
        words = body.replace(separator, b" ").split() if separator else body.split()
        try:
            if kind is np.int32:
                return np.array([to_integer(decode(word)) for word in words], dtype=np.int32)
            # numpy takes what Python takes, and makes room for the longest word everywhere.
            if b"_" in body or b"\0" in body or max(map(len, words), default=0) > _LONGEST_NUMBER:
                raise ValueError
            with np.errstate(over="ignore"):
                values = np.array(words, dtype=np.bytes_).astype(kind) if words else np.zeros(0, kind)
            if np.isinf(values).any() and b"inf" not in body.lower():
                raise ValueError
            return values
        except (ValueError, OverflowError):
            self.fail(f"{what} holds something that is not a number, or too large a number")

    def vector(self, kind: Floats = np.float32) -> np.ndarray:
        position = self.position
        body = self._brackets("a vector")
        if b"\n" in body.strip():
            self.fail("expected a vector, which stands on one line, found a matrix", position)
        return self._parse(body, "a vector", kind)

    def matrix(self, kind: Floats = np.float32) -> np.ndarray:
        body = self._brackets("a matrix").replace(b";", b"\n")
        rows = [row for row in body.split(b"\n") if row.strip()]
        if not rows:
            return np.zeros((0, 0), kind)
        columns = {len(row.split()) for row in rows}
        if len(columns) != 1:
            self.fail(f"a matrix has rows of {min(columns)} and of {max(columns)} columns")
        return self._parse(b" ".join(rows), "a matrix", kind).reshape(len(rows), -1)

    def int_vector(self) -> np.ndarray:
        return self._parse(self._brackets("a vector of integers"), "a vector of integers", np.int32)

    def int_pairs(self) -> np.ndarray:
        values = self._parse(self._brackets("a vector of pairs"), "a vector of pairs", np.int32, b",")
        if values.size % 2:
            self.fail("a vector of pairs has an odd number of integers")
        return values.reshape(-1, 2)


_WORD = re.compile(rb"[ \t\n\r\v\f]*([^ \t\n\r\v\f]+)")
_OPENING = re.compile(rb"[ \t\n\r\v\f]*\[")
_NEWLINE = re.compile(rb"\r?\n")


def _to_long(text: str) -> int:
    return to_integer(text, 64)


def _shorten(text: str) -> str:
    """A quotation of what a file holds, short enough for one sentence."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def open_reader(path: str | os.PathLike[str]) -> Reader:
    """Reads the whole of a Kaldi file, - for standard input, and returns the reader for its form, binary or text.

    Raises:
        FormatError: the file is missing, unreadable or empty.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") if name != "-" else contextlib.nullcontext(sys.stdin.buffer) as stream:
            data = stream.read()
    except OSError as error:
        raise FormatError(name, None, f"cannot be read: {error.strerror or error}") from error
    if not data:
        raise FormatError(name, None, "the file is empty")
    if data[:2] == b"\0B":
        return BinaryReader(data[2:], name, start=2)
    return TextReader(data, name)
