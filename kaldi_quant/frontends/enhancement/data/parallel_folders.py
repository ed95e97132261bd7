"""Folders of clean and of noisy speech, two for training and two for the test, paired by the names of files."""

from __future__ import annotations

from pathlib import Path

from kaldi_quant.frontends.enhancement.data.development import divided
from kaldi_quant.frontends.enhancement.data.layouts import LAYOUTS, Layout
from kaldi_quant.frontends.enhancement.data.options import MixOptions
from kaldi_quant.frontends.enhancement.data.pairs import EnhancementSet
from kaldi_quant.frontends.enhancement.data.reading import ReadOptions, kept
from kaldi_quant.frontends.enhancement.data.recorded import RecordedPair, RecordedPairs
from kaldi_quant.frontends.paired_files import paired

NAME = "parallel-folders"


def _found(folder: Path, options: ReadOptions) -> bool:
    return all((folder / path).is_dir() for path in options.parallel_folders if path) and any(options.parallel_folders)


def _read(folder: Path, mixing: MixOptions | None, options: ReadOptions) -> EnhancementSet:
    rate = options.sample_rate
    clean_train, noisy_train, clean_test, noisy_test = options.parallel_folders
    train, test = _pairs(folder, clean_train, noisy_train, options), _pairs(folder, clean_test, noisy_test, options)
    taught = divided(train, options) if train else (RecordedPairs([], rate), RecordedPairs([], rate))
    scored = RecordedPairs(kept(test, options.num_test_samples, "test", options.random_seed), rate)
    return EnhancementSet(NAME, rate, *taught, scored)


def _pairs(folder: Path, clean: str, noisy: str, options: ReadOptions) -> list[RecordedPair]:
    """Those of a split; none where it has no folders."""
    if not clean and not noisy:
        return []
    found = paired((folder / clean, folder / noisy), options.file_extension)
    return [RecordedPair(name, noisy=noisy_file, clean=clean_file) for name, (clean_file, noisy_file) in found]


LAYOUTS.add(NAME)(
    Layout("folders clean_train, noisy_train, clean_test, noisy_test, or as they are named", _found, _read)
)
