"""Some of a test set's recordings as WAV files in a cell's folder, with what a network made of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.metrics.score import shown_name

FOLDER = "est_predictions"


class Named(Protocol):
    """A recording of a test set."""

    @property
    def name(self) -> str:
        """Its name, which no other one has."""


_Recording = TypeVar("_Recording", bound=Named)


def chosen(
    recordings: Iterable[_Recording], made: Mapping[str, Array], numbers: Iterable[int], done: str
) -> Iterator[tuple[int, _Recording, Array]]:
    """Recordings that are written: of each its place, the recording, and what was made of it.

    Args:
        recordings: the test set.
        made: of recordings, by name.
        numbers: which recordings, by their places; all where there are none.
        done: what a network does with them, such as enhanced, for messages.

    Raises:
        DataError: nothing was made of a recording.
    """
    wanted = set(numbers)
    for number, recording in enumerate(recordings):
        if wanted and number not in wanted:
            continue
        if recording.name not in made:
            raise DataError(f"{shown_name(recording.name)} was not {done}")
        yield number, recording, made[recording.name]


def files_in(cell: Path, pattern: re.Pattern[str]) -> dict[str, dict[str, Path]]:
    """The WAV files in a cell's folder: ``stem`` → ``what`` → the file.

    Args:
        cell: its folder.
        pattern: of names, with groups ``stem`` and ``what``.
    """
    found: dict[str, dict[str, Path]] = {}
    for path in sorted((cell / FOLDER).glob("*.wav")):
        match = pattern.fullmatch(path.name)
        if match:
            found.setdefault(match["stem"], {})[match["what"]] = path
    return found
