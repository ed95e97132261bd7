"""Kaldi's scp files: one utterance per line and the place where its data lies.

A place is a file, ``file:byte-offset``, or a command that ends in ``|``; ``[first:last]`` or
``[first:last,first:last]`` behind it takes rows, or rows and columns, of a matrix, both ends included.

A relative file is looked for in the current directory, as Kaldi does. Where it is not there, it is looked for in the
folder that holds the scp file and, if its name has a folder in it, in the four folders above that, the nearest first.
So ``data/test/feats.ark`` is found from anywhere when the scp is ``<experiment>/data/test/feats.scp``.

Source: ``ReadScriptFile`` in ``src/util/kaldi-table.cc`` and ``ParseMatrixRangeSpecifier`` in
``src/util/kaldi-holder.cc``.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kaldi_quant.errors import DataError, FormatError
from kaldi_quant.kaldi.streams import is_pipe, open_stream
from kaldi_quant.kaldi.text_tables import read_lines

_LINE = re.compile(r"\s*(\S+)\s+(\S|\S.*\S)\s*", re.ASCII)
_PLACE = re.compile(r"(?P<file>.+?)(?::(?P<offset>\d+))?(?:\[(?P<range>[^\[\]]*)\])?", re.ASCII)
_RANGE = re.compile(r"(?:(\d+):(\d+)|:)(?:,(?:(\d+):(\d+)|:))?", re.ASCII)
# From <experiment>/data/test/split8/1/feats.scp up to <experiment>.
_FOLDERS_ABOVE = 4
# Kaldi's tolerance for segments whose last frame was rounded up.
_ROWS_BEYOND = 3


@dataclass(frozen=True)
class ScriptEntry:
    """One line of an scp file.

    Attributes:
        key: the utterance.
        filename: the file, or a command that ends in ``|``.
        offset: the byte at which the data begins.
        range: the text between ``[`` and ``]``, or None.
        where: the scp file and the line, for messages.
    """

    key: str
    filename: str
    offset: int | None
    range: str | None
    where: str

    def cut(self, values: np.ndarray) -> np.ndarray:
        """The part of a matrix (rows, columns) or vector (dim,) that the entry's range names.

        Raises:
            DataError: the range is malformed or lies outside.
        """
        if self.range is None:
            return values
        match = _RANGE.fullmatch(self.range.replace(" ", ""))
        if match is None or (values.ndim == 1 and "," in self.range):
            raise DataError(
                f"{self.where}: [{self.range}] is not a range: expected [first:last] or [first:last,first:last]"
            )
        ends = [None if end is None else int(end) for end in match.groups()]
        for axis, (first, last) in enumerate((ends[:2], ends[2:])[: values.ndim]):
            if first is None or last is None:
                continue
            size = values.shape[axis]
            if first > last or first >= size or last >= size + (_ROWS_BEYOND if axis == 0 else 0):
                what = ("rows", "columns")[axis] if values.ndim == 2 else "elements"
                raise DataError(f"{self.where}: the range [{self.range}] of {self.key} lies outside its {size} {what}")
            values = values[first : last + 1] if axis == 0 else values[:, first : last + 1]
        return values


def read_script(filename: str, allow_pipes: bool = False) -> dict[str, ScriptEntry]:
    """Reads an scp file, also from standard input or from a command.

    Returns:
        utterance → entry, in the file's order.

    Raises:
        FormatError: the file is missing, empty, or has a malformed line or an utterance twice.
        UsageError: the file is a command and ``allow_pipes`` is False.
    """
    stream = open_stream(filename, allow_pipes)
    try:
        lines = read_lines(stream)
    finally:
        stream.close()
    entries: dict[str, ScriptEntry] = {}
    places: dict[str, str] = {}
    for number, line in lines:
        where = f"{stream.name}, line {number}"
        words = _LINE.fullmatch(line)
        if words is None:
            raise FormatError(where, None, f"expected an utterance and a place, found {line[:80]!r}")
        key, rest = words.groups()
        if key in entries:
            raise FormatError(where, None, f"the utterance {key} appears again, after {entries[key].where}")
        entries[key] = _parse_entry(key, rest, where, filename, places)
    return entries


def _parse_entry(key: str, rest: str, where: str, scp: str, places: dict[str, str]) -> ScriptEntry:
    """Takes a place apart; ``places`` remembers where each file was found."""
    command, bracket, cut = rest.rpartition("[")
    if is_pipe(rest):
        return ScriptEntry(key, rest, None, None, where)
    if bracket and is_pipe(command):
        return ScriptEntry(key, command, None, cut.removesuffix("]"), where)
    match = _PLACE.fullmatch(rest)
    if match is None:
        raise FormatError(where, None, f"expected a file, file:offset or a command ending in |, found {rest[:80]!r}")
    name, offset, cut_text = match.group("file", "offset", "range")
    if name not in places:
        places[name] = locate(name, scp)
    return ScriptEntry(key, places[name], None if offset is None else int(offset), cut_text, where)


def locate(name: str, scp: str) -> str:
    """The path of a file that an scp names: from the current directory, else from the scp's folder and those above."""
    path = Path(name)
    if name == "-" or path.is_absolute() or path.exists() or scp in ("", "-") or is_pipe(scp):
        return name
    # A bare name could mean anything further up, and so could a path that is far from its scp.
    folders = Path(scp).resolve().parents
    for folder in folders[: 1 + _FOLDERS_ABOVE] if len(path.parts) > 1 else folders[:1]:
        if (folder / path).exists():
            return str(folder / path)
    return name
