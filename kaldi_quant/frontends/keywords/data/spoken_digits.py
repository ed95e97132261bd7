"""The Free Spoken Digit Dataset: ``recordings/{digit}_{speaker}_{index}.wav``, with its own split by index.

All its speakers are heard in training and in the test.

Source: github.com/Jakobovski/free-spoken-digit-dataset, README; recordings 0 to 4 of each speaker and digit are its
test, the next five are held out for development here.
"""

from __future__ import annotations

import re
from pathlib import Path

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.keywords.data.keyword_set import KeywordSet, Recording
from kaldi_quant.frontends.keywords.data.layouts import LAYOUTS, Layout

NAME = "spoken-digits"

_FILE = re.compile(r"([0-9])_([^_]+)_([0-9]+)\.wav")
_FIRST_OF_DEV, _FIRST_OF_TRAIN = 5, 10


def _wavs(folder: Path) -> Path:
    """Where the files are: in ``recordings``, or in the folder itself."""
    inner = folder / "recordings"
    return inner if inner.is_dir() else folder


def _found(folder: Path) -> bool:
    return any(_FILE.fullmatch(path.name) for path in _wavs(folder).iterdir())


def _read(folder: Path) -> KeywordSet:
    found = [(path, match) for path in _wavs(folder).glob("*.wav") if (match := _FILE.fullmatch(path.name))]
    if not found:
        raise DataError(f"{_wavs(folder)} has no files named as 7_jackson_32.wav: digit, speaker, index")
    classes = tuple(sorted({match[1] for _, match in found}))
    splits: dict[str, list[Recording]] = {"train": [], "dev": [], "test": []}
    for path, match in sorted(found, key=lambda pair: (pair[1][1], pair[1][2], int(pair[1][3]))):
        splits[_split(int(match[3]))].append(Recording(path, path.stem, classes.index(match[1]), match[2]))
    return KeywordSet(NAME, classes, *map(tuple, splits.values()))


def _split(index: int) -> str:
    return "test" if index < _FIRST_OF_DEV else "dev" if index < _FIRST_OF_TRAIN else "train"


LAYOUTS.add(NAME)(Layout("files recordings/{digit}_{speaker}_{index}.wav", _found, _read))
