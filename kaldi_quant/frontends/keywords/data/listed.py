"""Recordings that a table lists: ``recordings.tsv`` with the columns name, class, speaker, split, file, start, samples.

Columns stand between tabs under a line with their names. ``split`` is train, dev or test. ``file`` is relative to the
folder; a recording is its part from ``start`` on, of so many ``samples`` at the file's rate. So one file can hold many
recordings, which a lossy codec needs less room for.
"""

from __future__ import annotations

from pathlib import Path

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.keywords.data.keyword_set import KeywordSet, Recording
from kaldi_quant.frontends.keywords.data.layouts import LAYOUTS, Layout
from kaldi_quant.frontends.lists import read_table

NAME = "listed"
TABLE = "recordings.tsv"
COLUMNS = ("name", "class", "speaker", "split", "file", "start", "samples")
_SPLITS = ("train", "dev", "test")


def _found(folder: Path) -> bool:
    return (folder / TABLE).exists()


def _read(folder: Path) -> KeywordSet:
    rows = list(read_table(folder / TABLE, COLUMNS))
    classes = tuple(sorted({row["class"] for _, row in rows}))
    splits: dict[str, list[Recording]] = {split: [] for split in _SPLITS}
    there: dict[str, bool] = {}
    for where, row in rows:
        path = folder / row["file"]
        if not there.setdefault(row["file"], path.is_file()):
            raise DataError(f"{where}: there is no file {path}")
        if row["split"] not in splits:
            raise DataError(f"{where}: expected one of the splits {', '.join(_SPLITS)}, found {row['split']!r}")
        start, samples = (_whole(where, row, column) for column in ("start", "samples"))
        label = classes.index(row["class"])
        splits[row["split"]].append(Recording(path, row["name"], label, row["speaker"], start, samples))
    return KeywordSet(NAME, classes, *map(tuple, splits.values()))


def _whole(where: str, row: dict[str, str], column: str) -> int:
    if not (row[column].isascii() and row[column].isdecimal()):
        raise DataError(f"{where}: expected a number of samples under {column}, found {row[column]!r}")
    return int(row[column])


LAYOUTS.add(NAME)(Layout(f"the table {TABLE}", _found, _read))
