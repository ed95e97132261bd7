"""MBQAT's layout: two files of raw samples that training mixes crops of, and HDF5 files of the test."""

from __future__ import annotations

import logging
from pathlib import Path

from kaldi_quant.frontends.enhancement.data.layouts import LAYOUTS, Layout
from kaldi_quant.frontends.enhancement.data.options import MBQAT, MixOptions
from kaldi_quant.frontends.enhancement.data.pairs import EnhancementSet, Pairs
from kaldi_quant.frontends.enhancement.data.raw_files import Crops, RawFile
from kaldi_quant.frontends.enhancement.data.reading import Number, ReadOptions, count_of, kept
from kaldi_quant.frontends.enhancement.data.samp import SampPairs, find_samp_files, groups_of

NAME = "mbqat"
_log = logging.getLogger(__name__)


def _found(folder: Path, options: ReadOptions) -> bool:
    return (folder / options.speech_file).is_file() and (folder / options.noise_file).is_file()


def _read(folder: Path, mixing: MixOptions | None, options: ReadOptions) -> EnhancementSet:
    mixing = mixing or MBQAT
    tested = find_samp_files(folder / options.test_path)
    seed = options.random_seed
    test = kept([place for path in tested for place in groups_of(path)], options.num_test_samples, "test", seed)
    paths = folder / options.speech_file, folder / options.noise_file
    dev: Pairs
    if options.eval_file:
        chosen = folder / options.eval_file
        if chosen.resolve() in {path.resolve() for path in tested}:
            _log.warning("%s is part of the test: what is chosen on it is not measured on unseen data", chosen)
        dev, end = SampPairs(kept(groups_of(chosen), options.num_validation_samples, "dev", seed)), 1.0
    else:
        end = 1 - options.validation_share
        dev = _crops([RawFile(path, end, 1.0) for path in paths], options.num_validation_samples, MBQAT, options)
    train = _crops([RawFile(path, 0.0, end) for path in paths], options.num_training_samples, mixing, options)
    return EnhancementSet(NAME, options.sample_rate, train, dev, SampPairs(test))


def _crops(files: list[RawFile], number: Number, mixing: MixOptions, options: ReadOptions) -> Crops:
    """As many crops as are asked for: a whole number, else a share of as many as do not overlap."""
    length = round(options.speech_len * options.sample_rate)
    speech, noise = files
    count = number if isinstance(number, int) else count_of(number, max(1, len(speech.samples) // length))
    return Crops(speech, noise, count, length, options.sample_rate, mixing)


LAYOUTS.add(NAME)(Layout("files of raw samples speech.bin and noise.bin, or as they are named", _found, _read))
