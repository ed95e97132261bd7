"""Kaldi's tables in text form: ``text``, ``utt2spk``, ``words.txt``. What white space is stands in ``text``."""

import os

from kaldi_quant.errors import FormatError
from kaldi_quant.kaldi.streams import ByteStream, is_pipe, open_stream
from kaldi_quant.kaldi.text import decode, split_words, strip, to_integer

_LONGEST_LINE = 1 << 24


def read_text_map(path: str | os.PathLike[str], fields: int | None = None) -> dict[str, list[str]]:
    """Reads a file whose lines hold a key and words, such as ``text`` or ``utt2spk``.

    Args:
        path: the file; ``-`` is standard input.
        fields: the number of words that must follow the key, such as 1 for ``utt2spk``; None for any number.

    Returns:
        key → words, in the file's order; the words of an empty transcript are an empty list.

    Raises:
        FormatError: the file is missing or empty, or a line is blank, has a key twice or another number of words;
            names the file and the line.
    """
    table: dict[str, list[str]] = {}
    first_lines: dict[str, int] = {}
    for number, line in _read_lines(path):
        key, *words = split_words(line)
        where = f"{os.fspath(path)}, line {number}"
        if key in table:
            raise FormatError(where, None, f"{key} stands here again, after line {first_lines[key]}")
        if fields is not None and len(words) != fields:
            raise FormatError(where, None, f"expected {fields + 1} fields, found {len(words) + 1}: {line[:80]!r}")
        table[key] = words
        first_lines[key] = number
    return table


def read_symbol_table(path: str | os.PathLike[str]) -> dict[int, str]:
    """Reads OpenFst's symbol table, such as ``words.txt`` or ``phones.txt``: a symbol and its number on each line.

    Returns:
        number → symbol.

    Raises:
        FormatError: the file is missing or empty, or a line is malformed or repeats a symbol or a number.
    """
    symbols: dict[int, str] = {}
    for symbol, (number,) in read_text_map(path, fields=1).items():
        try:
            label = to_integer(number)
        except ValueError:
            label = -1
        if label < 0:
            raise FormatError(
                os.fspath(path), None, f"expected a number of 0 or more behind {symbol}, found {number!r}"
            )
        if label in symbols:
            raise FormatError(os.fspath(path), None, f"{symbol} and {symbols[label]} have the same number {number}")
        symbols[label] = symbol
    return symbols


def read_numbers(path: str | os.PathLike[str]) -> list[int]:
    """Reads a file of numbers of 0 or more, one on each line, such as ``disambig_tid.int``.

    Raises:
        FormatError: the file is missing or empty, or a line is no such number; names it.
    """
    found: list[int] = []
    for number, line in _read_lines(path):
        text = strip(line)
        value = int(text) if text.isascii() and text.isdecimal() else -1
        if not 0 <= value < 1 << 31:
            where = f"{os.fspath(path)}, line {number}"
            raise FormatError(where, None, f"expected a number of 0 or more, found {text[:40]!r}")
        found.append(value)
    return found


def read_lines(stream: ByteStream) -> list[tuple[int, str]]:
    """Reads a stream of text to its end; returns (line number from 1, line) pairs.

    Raises:
        FormatError: the stream is empty, or a line is blank or too long.
    """
    lines: list[tuple[int, str]] = []
    while data := stream.read_line(_LONGEST_LINE):
        where = f"{stream.name}, line {len(lines) + 1}"
        if len(data) == _LONGEST_LINE or b"\0" in data:
            raise FormatError(where, None, "expected text, found binary data")
        line = decode(data)
        if not strip(line):
            raise FormatError(where, None, "expected a line of text, found a blank one")
        lines.append((len(lines) + 1, line))
    if not lines:
        raise FormatError(stream.name, None, "the file is empty")
    return lines


def _read_lines(path: str | os.PathLike[str]) -> list[tuple[int, str]]:
    name = os.fspath(path)
    if is_pipe(name):
        raise FormatError(name, None, "expected a file, found a command")
    stream = open_stream(name)
    try:
        return read_lines(stream)
    finally:
        stream.close()
