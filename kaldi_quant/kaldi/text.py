"""Text as Kaldi takes it: bytes, in which white space and digits are those of ASCII alone.

Python's own ``split``, ``strip``, ``splitlines``, ``int`` and ``float`` know the spaces, line ends and digits of
Unicode and more besides (``1_000``), so that a word with a no-break space would become two. Text becomes ``str`` in a
way that lets bytes which are no UTF-8, such as Latin-1's and GBK's, come out again as they went in.

Source: ``src/util/text-utils.h`` and ``text-utils.cc``.
"""

import os
import re
from pathlib import Path

from kaldi_quant.errors import FormatError

SPACE = " \t\n\r\f\v"

_WORDS = re.compile(f"[^{SPACE}]+")
_INTEGER = re.compile(r"([+-]?)0*([0-9]+)")
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|infinity|nan)", re.IGNORECASE)


def decode(data: bytes) -> str:
    """The text that bytes hold; bytes that are no UTF-8 stand for themselves (PEP 383)."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """The bytes of a text that ``decode`` made."""
    return text.encode("utf-8", "surrogateescape")


def split_words(text: str) -> list[str]:
    """The words of a line, as ``SplitStringToVector`` finds them with Kaldi's white space."""
    return _WORDS.findall(text)


def split_lines(text: str) -> list[str]:
    """The lines of a text without their newlines; no other character ends a line."""
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def strip(text: str) -> str:
    """A text without white space at its ends, as ``Trim``."""
    return text.strip(SPACE)


def to_integer(text: str, bits: int = 32) -> int:
    """An integer, as ``ConvertStringToInteger``.

    Raises:
        ValueError: the text is none, or one that ``bits`` do not hold.
    """
    word = strip(text)
    found = _INTEGER.fullmatch(word)
    # Python refuses thousands of digits, with an advice of its own.
    if found is not None and len(found[2]) <= bits // 3:
        value = int(found[1] + found[2])
        if -(1 << (bits - 1)) <= value < 1 << (bits - 1):
            return value
    raise ValueError(f"{word[:40]!r} is no integer of {bits} bits")


def to_real(text: str) -> float:
    """A number, as ``ConvertStringToReal``: also inf and nan in any case, with a sign or without.

    Raises:
        ValueError: the text is none.
    """
    word = strip(text)
    if not _REAL.fullmatch(word):
        raise ValueError(f"{word[:40]!r} is no number")
    return float(word)


def read_text(path: str | os.PathLike[str]) -> str:
    """Reads a file of text; carriage returns stay.

    Raises:
        FormatError: the file cannot be read.
    """
    try:
        return decode(Path(path).read_bytes())
    except OSError as error:
        raise FormatError(os.fspath(path), None, f"cannot be read: {error.strerror or error}") from error
