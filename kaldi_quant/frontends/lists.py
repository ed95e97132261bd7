"""Lists and tables of recordings, as text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kaldi_quant.errors import DataError


def read_list(path: Path) -> Iterator[tuple[str, str]]:
    """Reads a file of one entry on each line, without blank lines.

    Yields:
        (place for messages, entry) pairs.

    Raises:
        DataError: the file is missing, empty, or no text in UTF-8.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise DataError(f"cannot read the list {path}: {reason}") from error
    lines = [(f"{path}, line {number}", line.strip("\r")) for number, line in enumerate(text.split("\n"), 1)]
    lines = [(where, line) for where, line in lines if line.strip()]
    if not lines:
        raise DataError(f"the list {path} is empty")
    yield from lines


def read_table(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Reads a table with tabs between columns, whose first line names these columns, in any order.

    Yields:
        (place for messages, column → value) pairs, of each line.

    Raises:
        DataError: the file cannot be read, or lacks a column, or a line has another number of values.
    """
    lines = read_list(path)
    where, first = next(lines)
    names = first.split("\t")
    if sorted(names) != sorted(columns):
        raise DataError(f"{where}: expected the columns {', '.join(columns)}, found {', '.join(names)}")
    for where, line in lines:
        values = line.split("\t")
        if len(values) != len(names):
            raise DataError(f"{where}: expected {len(names)} values with tabs between them, found {len(values)}")
        yield where, dict(zip(names, values, strict=True))
