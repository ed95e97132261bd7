"""The table of the embedded set, ``utterances.tsv``: which speech is in which split, and with what it is mixed.

Columns stand between tabs under a line with their names. ``split`` is train, dev or test. ``file`` is relative to the
folder; an utterance is its part from ``start`` on, of so many ``samples`` at the file's rate, so that one file can hold
many. ``noise``, ``snr`` and ``room`` say what an utterance of dev or test is mixed with: a kind of noise, dB, yes or
no. Of utterances of train they are empty: there, all is drawn anew on each pass. ``text`` is what is said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.lists import read_table

TABLE = "utterances.tsv"
COLUMNS = ("name", "split", "speaker", "file", "start", "samples", "noise", "snr", "room", "text")
SPLITS = ("train", "dev", "test")
YES, NO = "yes", "no"


@dataclass(frozen=True)
class Utterance:
    """A line of the table.

    Attributes:
        name: its own.
        speaker: who says it.
        path: the file.
        start: its first sample there, at the file's rate.
        samples: how many.
        noise: what it is mixed with; empty in train.
        snr: the ratio of speech to noise, in dB; None in train.
        room: whether it is heard in a room; None in train.
        text: what is said.
    """

    name: str
    speaker: str
    path: Path
    start: int
    samples: int
    noise: str
    snr: float | None
    room: bool | None
    text: str


def read_utterances(folder: Path) -> dict[str, list[Utterance]]:
    """The utterances of each split; their audio is not read.

    Raises:
        DataError: the table is missing or broken, a file is missing, a split is empty, a name stands there twice.
    """
    found: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
    there: dict[str, bool] = {}
    names: set[str] = set()
    for where, row in read_table(folder / TABLE, COLUMNS):
        if row["split"] not in found:
            raise DataError(f"{where}: expected one of the splits {', '.join(SPLITS)}, found {row['split']!r}")
        if not there.setdefault(row["file"], (folder / row["file"]).is_file()):
            raise DataError(f"{where}: there is no file {folder / row['file']}")
        if row["name"] in names:
            raise DataError(f"{where}: the name {row['name']} stands there twice")
        names.add(row["name"])
        found[row["split"]].append(_utterance(folder, where, row))
    for split, utterances in found.items():
        if not utterances:
            raise DataError(f"{folder / TABLE} has no utterance in the split {split}")
    return found


def _utterance(folder: Path, where: str, row: dict[str, str]) -> Utterance:
    start, samples = (_whole(where, row, column) for column in ("start", "samples"))
    if not samples:
        raise DataError(f"{where}: the utterance {row['name']} is empty, it has 0 samples")
    about = row["name"], row["speaker"], folder / row["file"], start, samples
    conditions = (row["noise"], row["snr"], row["room"])
    if row["split"] == "train":
        if any(conditions):
            raise DataError(f"{where}: noise, snr and room must be empty in the split train, found {conditions}")
        return Utterance(*about, "", None, None, row["text"])
    if not row["noise"] or row["room"] not in (YES, NO):
        raise DataError(f"{where}: expected a kind of noise, and {YES} or {NO} under room, found {conditions}")
    try:
        snr = float(row["snr"])
    except ValueError:
        snr = math.nan
    if not math.isfinite(snr):
        raise DataError(f"{where}: expected a ratio in dB under snr, found {row['snr']!r}")
    return Utterance(*about, row["noise"], snr, row["room"] == YES, row["text"])


def _whole(where: str, row: dict[str, str], column: str) -> int:
    if not (row[column].isascii() and row[column].isdecimal()):
        raise DataError(f"{where}: expected a number of samples under {column}, found {row[column]!r}")
    return int(row[column])
