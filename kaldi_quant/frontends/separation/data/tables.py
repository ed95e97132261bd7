"""Tables of mixtures with commas between columns, as LibriMix and speechbrain have them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from kaldi_quant.errors import DataError

# A relative path may begin so many folders above its table.
_ABOVE = 6


def read_csv(path: Path, columns: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """The rows of a table whose first line names its columns, of which it may have more than are wanted.

    Args:
        path: the file.
        columns: those that it must have.

    Returns:
        (place for messages, column → value) of each row.

    Raises:
        DataError: it cannot be read, lacks a column or has no rows, or a row has another number of values.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            lines = [line for line in csv.reader(stream, strict=True) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is no text with commas ({error})"
        raise DataError(f"cannot read the table {path}: {reason}") from error
    if not lines:
        raise DataError(f"the table {path} is empty")
    names, *values = lines
    missing = [column for column in columns if column not in names]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}: expected {', '.join(columns)}")
    if not values:
        raise DataError(f"{path} has no rows under its columns")
    rows = []
    for number, line in enumerate(values, 2):
        if len(line) != len(names):
            raise DataError(f"{path}, line {number}: expected {len(names)} values, found {len(line)}")
        rows.append((f"{path}, line {number}", dict(zip(names, line, strict=True))))
    return rows


class Places:
    """Where files of a table are: relative paths begin at its folder, or at one of those above it.

    Args:
        table: the file.
    """

    def __init__(self, table: Path) -> None:
        self._folders = [table.parent, *table.resolve().parent.parents[:_ABOVE]]

    def find(self, where: str, path: str) -> Path:
        """A file.

        Args:
            where: it is named, for messages.
            path: as the table has it.

        Raises:
            DataError: there is none.
        """
        if not path:
            raise DataError(f"{where}: a path is empty")
        for folder in self._folders:
            if (folder / path).is_file():
                # Next time it is looked for there first.
                self._folders.remove(folder)
                self._folders.insert(0, folder)
                return folder / path
        beside = "" if Path(path).is_absolute() else f" below {self._folders[-1]} or the folders of the table"
        raise DataError(f"{where}: there is no file {path}{beside}")
