"""Valentini's set: folders of clean and noisy speech of 28 or 56 speakers for training, and of two others for the test.

Source: C. Valentini-Botinhao, "Noisy speech database for training speech enhancement algorithms and TTS models", 2017.
A file is called after its speaker and a number, ``p226_001.wav``. Where the logs of the set lie beside the folders, or
in a folder ``logfiles``, each line of which has a name, a noise and a ratio, pairs have these.
"""

from __future__ import annotations

import math
from pathlib import Path

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.enhancement.data.development import divided
from kaldi_quant.frontends.enhancement.data.layouts import LAYOUTS, Layout
from kaldi_quant.frontends.enhancement.data.options import MixOptions
from kaldi_quant.frontends.enhancement.data.pairs import Decibels, EnhancementSet
from kaldi_quant.frontends.enhancement.data.reading import ReadOptions, kept
from kaldi_quant.frontends.enhancement.data.recorded import RecordedPair, RecordedPairs
from kaldi_quant.frontends.lists import read_list
from kaldi_quant.frontends.paired_files import paired

NAME = "valentini"
_TRAIN, _TEST = "trainset_{}spk", "testset"
_CLEAN, _NOISY = "clean_{}_wav", "noisy_{}_wav"
_SPEAKERS = (28, 56)
_LOGS = ("", "logfiles")
_EXTENSION = "wav"


def _found(folder: Path, options: ReadOptions) -> bool:
    return bool(_sizes(folder))


def _sizes(folder: Path) -> list[int]:
    """How many speakers there are in the training sets of a folder."""
    return [size for size in _SPEAKERS if (folder / _CLEAN.format(_TRAIN.format(size))).is_dir()]


def _read(folder: Path, mixing: MixOptions | None, options: ReadOptions) -> EnhancementSet:
    size = _chosen(folder, options.n_speakers)
    train, test = _pairs(folder, _TRAIN.format(size)), _pairs(folder, _TEST)
    scored = kept(test, options.num_test_samples, "test", options.random_seed)
    rate = options.sample_rate
    return EnhancementSet(NAME, rate, *divided(train, options), RecordedPairs(scored, rate))


def _chosen(folder: Path, speakers: int | None) -> int:
    there = _sizes(folder)
    known = " or ".join(map(str, _SPEAKERS))
    if speakers is None and len(there) == 1:
        return there[0]
    if speakers is None and there:
        raise DataError(f"{folder} has training sets of {known} speakers: say which by n_speakers")
    if speakers is None or speakers not in _SPEAKERS:
        raise DataError(f"{folder}: expected a training set of {known} speakers, found n_speakers {speakers}")
    return speakers


def _pairs(folder: Path, split: str) -> list[RecordedPair]:
    logged = _logged(folder, split)
    found = []
    folders = folder / _CLEAN.format(split), folder / _NOISY.format(split)
    for name, (clean, noisy) in paired(folders, _EXTENSION):
        noise, snr = logged.get(name, ("", None))
        speaker, separator, _ = name.partition("_")
        found.append(RecordedPair(name, noisy, clean, noise, snr, speaker if separator else ""))
    return found


def _logged(folder: Path, split: str) -> dict[str, tuple[str, Decibels | None]]:
    """Name → noise and ratio; empty where there is no log."""
    found: dict[str, tuple[str, Decibels | None]] = {}
    path = next((path for below in _LOGS if (path := folder / below / f"log_{split}.txt").is_file()), None)
    for where, line in read_list(path) if path else ():
        words = line.split()
        try:
            name, noise, ratio = words
            snr = float(ratio)
        except ValueError:
            raise DataError(f"{where}: expected a name, a noise and a ratio in dB, found {line!r}") from None
        if not math.isfinite(snr):
            raise DataError(f"{where}: expected a ratio in dB, found {ratio}")
        found[name.removesuffix(f".{_EXTENSION}")] = noise, snr
    return found


LAYOUTS.add(NAME)(Layout("folders like clean_trainset_28spk_wav", _found, _read))
