"""Sentences without noise, as ``sentences.tsv`` lists them: name, speaker, split, file, text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.keywords.synthetic.sentences import COLUMNS, TABLE
from kaldi_quant.frontends.lists import read_table
from kaldi_quant.frontends.signals.audio import read_audio
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.units import Hertz

#: What networks are taught with, what settings are chosen on, what is scored once.
SPLITS = ("train", "dev", "test")
# The folder of sentences within one of keywords.
_BELOW = "sentences"
#: For each split the sentences' files, by name.
Sentences = Mapping[str, Mapping[str, Path]]


def read_sentences(folder: Path) -> Sentences:
    """Finds the sentences of a folder; their audio is not read.

    Args:
        folder: with the table, or above ``sentences`` with the table.

    Raises:
        DataError: there is no such folder or table, or it is broken: a split has no sentence, a file is missing, a
            name stands there twice.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist, or is no folder: expected sentences and {TABLE}")
    if not (folder / TABLE).exists() and (folder / _BELOW / TABLE).exists():
        folder = folder / _BELOW
    found: dict[str, dict[str, Path]] = {split: {} for split in SPLITS}
    for where, row in read_table(folder / TABLE, COLUMNS):
        name, path = row["name"], folder / row["file"]
        if row["split"] not in found:
            raise DataError(f"{where}: expected one of the splits {', '.join(SPLITS)}, found {row['split']!r}")
        if not path.is_file():
            raise DataError(f"{where}: there is no file {path}")
        if any(name in split for split in found.values()):
            raise DataError(f"{where}: the name {name} stands there twice")
        found[row["split"]][name] = path
    for split, sentences in found.items():
        if not sentences:
            raise DataError(f"{folder / TABLE} has no sentence in the split {split}")
    return found


def read_speech(sentences: Mapping[str, Path], rate: Hertz) -> dict[str, Array]:
    """(samples,) float32 of each sentence, by its name.

    Raises:
        DataError: one cannot be read.
    """
    return {name: read_audio(path, rate) for name, path in sentences.items()}
