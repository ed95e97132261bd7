"""Kaldi's basic types, written in binary or text form: the mirror of ``reader``.

Source: ``src/base/io-funcs.cc``, ``src/base/io-funcs-inl.h``, ``src/matrix/kaldi-vector.cc`` and ``kaldi-matrix.cc``.
Text numbers carry seven digits, as Kaldi's output streams do (``InitKaldiOutputStream``).
"""

import io
import os
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable

import numpy as np

from kaldi_quant.atomic import atomic_write
from kaldi_quant.kaldi.text import encode


class Writer(ABC):
    """Collects Kaldi's basic types in memory; ``save`` puts them into a file at once."""

    header = b""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()

    def raw(self, data: bytes) -> None:
        """Appends bytes as they are."""
        self._buffer.write(data)

    def token(self, token: str) -> None:
        """Writes a token and the space that ends it."""
        self.raw(encode(token) + b" ")

    def line(self, text: str) -> None:
        """Writes a line, in both forms."""
        self.raw(encode(text) + b"\n")

    @abstractmethod
    def newline(self) -> None:
        """Ends a line in the text form; the binary form has no lines."""

    def getvalue(self) -> bytes:
        """Everything written, with the header that names the form."""
        return self.header + self._buffer.getvalue()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the file under its final name at once.

        Raises:
            DataError: the folder cannot be written, or the disk is full.
        """
        with atomic_write(path) as stream:
            stream.write(self.getvalue())

    @abstractmethod
    def int32(self, value: int) -> None:
        """Writes a signed 32-bit integer."""

    @abstractmethod
    def uint32(self, value: int) -> None:
        """Writes an unsigned 32-bit integer."""

    @abstractmethod
    def bool(self, value: bool) -> None:
        """Writes a boolean."""

    @abstractmethod
    def float(self, value: np.floating) -> None:
        """Writes a scalar in its own width, float32 or float64."""

    @abstractmethod
    def vector(self, values: np.ndarray) -> None:
        """Writes a vector, values: (dim,) float32 or float64."""

    @abstractmethod
    def matrix(self, values: np.ndarray) -> None:
        """Writes a matrix, values: (rows, columns) float32 or float64."""

    @abstractmethod
    def int_vector(self, values: np.ndarray) -> None:
        """Writes a vector of integers, values: (n,)."""

    @abstractmethod
    def int_pairs(self, values: np.ndarray) -> None:
        """Writes a vector of pairs of integers, values: (n, 2)."""


class BinaryWriter(Writer):
    """Writes Kaldi's binary form."""

    header = b"\0B"

    def newline(self) -> None:
        pass

    def int32(self, value: int) -> None:
        self.raw(struct.pack("<bi", 4, value))

    def uint32(self, value: int) -> None:
        self.raw(struct.pack("<bI", -4, value))

    def bool(self, value: bool) -> None:
        self.raw(b"T" if value else b"F")

    def float(self, value: np.floating) -> None:
        data = np.asarray(value, "<f8" if value.dtype == np.float64 else "<f4").tobytes()
        self.raw(struct.pack("<b", len(data)) + data)

    def vector(self, values: np.ndarray) -> None:
        self._array(values, "V")

    def matrix(self, values: np.ndarray) -> None:
        self._array(values, "M")

    def _array(self, values: np.ndarray, kind: str) -> None:
        double = values.dtype == np.float64
        self.token(("D" if double else "F") + kind)
        for size in values.shape:
            self.int32(size)
        self.raw(np.ascontiguousarray(values, "<f8" if double else "<f4").tobytes())

    def int_vector(self, values: np.ndarray) -> None:
        self.raw(struct.pack("<bi", 4, len(values)) + np.ascontiguousarray(values, "<i4").tobytes())

    int_pairs = int_vector


class TextWriter(Writer):
    """Writes Kaldi's text form."""

    def newline(self) -> None:
        self.raw(b"\n")

    def int32(self, value: int) -> None:
        self.token(str(int(value)))

    uint32 = int32

    def bool(self, value: bool) -> None:
        self.token("T" if value else "F")

    def float(self, value: np.floating) -> None:
        self.token(f"{value:.7g}")

    def vector(self, values: np.ndarray) -> None:
        self.raw(f" [ {_numbers(values)}]\n".encode())

    def matrix(self, values: np.ndarray) -> None:
        rows = "".join(f"\n  {_numbers(row)}" for row in values)
        self.raw(f" [{rows}]\n".encode() if values.shape[1] else b" [ ]\n")

    def int_vector(self, values: np.ndarray) -> None:
        self.raw(("[ " + "".join(f"{value} " for value in values) + "]\n").encode())

    def int_pairs(self, values: np.ndarray) -> None:
        self.raw(("[ " + "".join(f"{first},{second} " for first, second in values) + "]\n").encode())


def _numbers(values: Iterable[np.floating]) -> str:
    return "".join(f"{value:.7g} " for value in np.asarray(values).tolist())


def make_writer(binary: bool) -> Writer:
    """The writer for the binary or the text form."""
    return BinaryWriter() if binary else TextWriter()
