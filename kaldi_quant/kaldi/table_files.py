"""The files that a table consists of: what its content depends on."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.kaldi.script_file import read_script
from kaldi_quant.kaldi.specifiers import is_rspecifier, parse_rspecifier
from kaldi_quant.kaldi.streams import is_pipe


@dataclass(frozen=True)
class TableFiles:
    """What a table is read from.

    Attributes:
        files: the scp file and the files that it names, or the archive; of commands the files that they name.
        repeatable: False where something is read whose content no file decides: standard input, or a command that names
            no file.
    """

    files: tuple[Path, ...]
    repeatable: bool = True


def table_files(rspecifier: str, allow_pipes: bool = False) -> TableFiles:
    """Finds the files of a table.

    Args:
        rspecifier: such as ``scp:data/test/feats.scp``.
        allow_pipes: whether the scp itself may be the output of a command.

    Raises:
        UsageError: the rspecifier is malformed.
        FormatError, DataError: the scp is missing or malformed.
    """
    parsed = parse_rspecifier(rspecifier)
    if not parsed.script or is_pipe(parsed.filename) or parsed.filename == "-":
        return files_of([parsed.filename])
    return files_of(
        [parsed.filename, *(entry.filename for entry in read_script(parsed.filename, allow_pipes).values())]
    )


def files_of(names: Iterable[str]) -> TableFiles:
    """The files behind names of files, commands and ``-``."""
    files: list[Path] = []
    repeatable = True
    for name in dict.fromkeys(names):
        found = _named_in(name) if is_pipe(name) else [Path(name)]
        repeatable = repeatable and name != "-" and bool(found)
        files.extend(found if name != "-" else ())
    return TableFiles(tuple(dict.fromkeys(files)), repeatable)


def _named_in(command: str) -> list[Path]:
    """The files among a command's words: the audio that ``sph2pipe -f wav a.sph |`` unpacks.

    None where a word names a table: what the command prints depends on its archives, too.
    """
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    if any(is_rspecifier(word) and parse_rspecifier(word).filename != "-" for word in words[1:]):
        return []
    # A program itself is found through PATH and rarely changes.
    return [Path(word) for word in words[1:] if Path(word).is_file()]
