"""Google's Speech Commands, version 0.02: a folder for each word, and lists of what is for validation and test.

Source: P. Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", 2018, and its README.
"""

from __future__ import annotations

from pathlib import Path

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.keywords.data.keyword_set import KeywordSet, Recording
from kaldi_quant.frontends.keywords.data.layouts import LAYOUTS, Layout
from kaldi_quant.frontends.lists import read_list

NAME = "speech-commands"
VALIDATION, TESTING = "validation_list.txt", "testing_list.txt"

# Behind it stands which of a speaker's recordings of a word a file holds.
_BEHIND_SPEAKER = "_nohash_"


def _found(folder: Path) -> bool:
    return (folder / VALIDATION).exists() or (folder / TESTING).exists()


def _read(folder: Path) -> KeywordSet:
    words = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(("_", ".")))
    recordings = {
        f"{word}/{path.name}": _recording(path, label)
        for label, word in enumerate(words)
        for path in sorted((folder / word).glob("*.wav"))
    }
    dev, test = (_listed(folder / name, recordings) for name in (VALIDATION, TESTING))
    if both := dev.keys() & test.keys():
        raise DataError(f"{folder}: {min(both)} stands in {VALIDATION} and in {TESTING}")
    train = [recording for entry, recording in recordings.items() if entry not in dev and entry not in test]
    return KeywordSet(NAME, tuple(words), tuple(train), tuple(dev.values()), tuple(test.values()))


def _recording(path: Path, label: int) -> Recording:
    speaker = path.stem.split(_BEHIND_SPEAKER)[0]
    return Recording(path, f"{path.parent.name}/{path.stem}", label, speaker)


def _listed(path: Path, recordings: dict[str, Recording]) -> dict[str, Recording]:
    """The recordings of a list, in its order."""
    found: dict[str, Recording] = {}
    for where, entry in read_list(path):
        if entry not in recordings:
            raise DataError(f"{where}: there is no file {path.parent / entry}")
        if entry in found:
            raise DataError(f"{where}: {entry} stands here again")
        found[entry] = recordings[entry]
    return found


LAYOUTS.add(NAME)(Layout(f"{VALIDATION} and {TESTING}", _found, _read))
