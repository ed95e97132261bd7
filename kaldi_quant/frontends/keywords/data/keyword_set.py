"""What a folder of keywords holds: its classes, and recordings for training, development and test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.errors import DataError

# More names than these do not fit into a sentence.
_MOST_NAMES = 5


@dataclass(frozen=True)
class Recording:
    """A keyword that somebody said.

    Attributes:
        path: the audio file.
        name: of this recording alone, as scores have it.
        label: the number of its class.
        speaker: who said it.
        start: its first sample in the file, at the file's rate.
        samples: how many belong to it; None for all that follow.
    """

    path: Path
    name: str
    label: int
    speaker: str
    start: int = 0
    samples: int | None = None


@dataclass(frozen=True)
class KeywordSet:
    """Recordings of keywords, in three splits.

    Attributes:
        name: of the layout that it was read in.
        classes: the words; a label is a place here.
        train: what networks are trained on.
        dev: what settings are chosen on.
        test: what is scored once.
    """

    name: str
    classes: tuple[str, ...]
    train: tuple[Recording, ...]
    dev: tuple[Recording, ...]
    test: tuple[Recording, ...]

    @property
    def splits(self) -> dict[str, tuple[Recording, ...]]:
        """Recordings by the name of their split."""
        return {"train": self.train, "dev": self.dev, "test": self.test}

    @property
    def unseen_speakers(self) -> bool:
        """Whether nobody who is heard in the test is heard in training or development."""
        tested = {recording.speaker for recording in self.test}
        return tested.isdisjoint(recording.speaker for recording in (*self.train, *self.dev))


def check_complete(folder: Path, found: KeywordSet) -> KeywordSet:
    """Refuses a set in which a split lacks a class, or in which two recordings have the same name.

    Raises:
        DataError: the set is such; names the folder, the split and the class, or the recording.
    """
    if not found.classes:
        raise DataError(f"{folder} has no recordings of keywords")
    for split, recordings in found.splits.items():
        labels = {recording.label for recording in recordings}
        lacking = [word for label, word in enumerate(found.classes) if label not in labels]
        if lacking:
            raise DataError(f"{folder}: the split {split} has no recording of {in_words(lacking)}")
    names = Counter(recording.name for recordings in found.splits.values() for recording in recordings)
    name, count = names.most_common(1)[0]
    if count > 1:
        raise DataError(f"{folder}: {count} recordings have the name {name}")
    return found


def in_words(names: Iterable[str]) -> str:
    """``up, down, left and 4 more``, for messages."""
    names = list(names)
    shown = ", ".join(names[:_MOST_NAMES])
    return f"{shown} and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else shown
