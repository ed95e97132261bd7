"""The embedded set: clean speech that a table lists, of which two at a time are mixed when they are read.

Train, dev and test have voices of their own. Mixtures of dev and test follow from seeds; noises of the test come from
ranges that training does not have.
"""

from __future__ import annotations

from pathlib import Path

from kaldi_quant.frontends.separation.data.layouts import LAYOUTS, Layout
from kaldi_quant.frontends.separation.data.mixtures import SeparationSet
from kaldi_quant.frontends.separation.data.options import MixOptions, ReadOptions
from kaldi_quant.frontends.separation.data.speech_mixtures import FixedSpeechMixtures, SpeechMixtures
from kaldi_quant.frontends.separation.networks.known import Kind
from kaldi_quant.frontends.speech.conditions import HEARD, UNHEARD
from kaldi_quant.frontends.speech.speech import Speech
from kaldi_quant.frontends.speech.table import TABLE, read_utterances

NAME = "listed"
# Mixtures of development and of the test: of the test, each of 20 speakers is heard six times.
_DEV, _TEST = 24, 60
# Development and test do not depend on how training mixes.
_SEEDS = {"dev": 1, "test": 2}


def _found(folder: Path, options: ReadOptions) -> bool:
    return (folder / TABLE).exists()


def _read(folder: Path, kind: Kind, options: ReadOptions) -> SeparationSet:
    rate = options.rate or kind.rate
    speech = {split: Speech(found, rate) for split, found in read_utterances(folder).items()}
    about = options.count, options.task
    train = MixOptions(seconds=options.seconds + options.spare, seed=options.seed)
    dev, test = (MixOptions(conditions=name, seed=_SEEDS[split]) for name, split in ((HEARD, "dev"), (UNHEARD, "test")))
    return SeparationSet(
        NAME,
        rate,
        options.sources,
        1,
        SpeechMixtures(speech["train"], *about, train, options.train),
        FixedSpeechMixtures(speech["dev"], *about, dev, options.dev or _DEV),
        FixedSpeechMixtures(speech["test"], *about, test, options.test or _TEST),
    )


LAYOUTS.add(NAME)(Layout(f"the table {TABLE}", _found, _read))
