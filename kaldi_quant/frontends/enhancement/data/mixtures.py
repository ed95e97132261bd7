"""Pairs that are mixed when they are asked for: others on each pass for training, always the same for dev and test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from kaldi_quant.frontends.enhancement.data.conditions import CONDITIONS
from kaldi_quant.frontends.enhancement.data.mixing import mixed
from kaldi_quant.frontends.enhancement.data.options import MixOptions
from kaldi_quant.frontends.enhancement.data.pairs import Pair, check_index
from kaldi_quant.frontends.enhancement.data.speech import Speech
from kaldi_quant.frontends.synthetic.seeds import seeded

# What is mixed alike has the same digest; to be raised where mixtures become others.
_VERSION = 1


class Mixtures:
    """A ``TrainingSource``: each utterance once in a pass.

    Args:
        speech: clean.
        options: how it is mixed.
    """

    def __init__(self, speech: Speech, options: MixOptions) -> None:
        self.speech, self.options = speech, options

    def __len__(self) -> int:
        return len(self.speech)

    def item(self, index: int, number_of_pass: int) -> Pair:
        """As of ``TrainingSource``."""
        index = check_index(index, len(self))
        random = np.random.default_rng([self.options.seed, number_of_pass, index])
        utterance = self.speech.utterances[index]
        voices = self.speech.others(utterance.speaker)
        return mixed(
            utterance.name,
            self.speech[index],
            voices,
            self.speech.rate,
            self.options,
            random,
            speaker=utterance.speaker,
        )

    def digest(self) -> str:
        """As of ``TrainingSource``."""
        return _digest(self.speech, self.options)


class FixedMixtures:
    """``Pairs``: each utterance with the noise, ratio and room that the table says.

    Args:
        speech: clean.
        options: how it is mixed.
    """

    def __init__(self, speech: Speech, options: MixOptions) -> None:
        self.speech, self.options = speech, options

    def __len__(self) -> int:
        return len(self.speech)

    def __getitem__(self, index: int) -> Pair:
        utterance = self.speech.utterances[check_index(index, len(self))]
        return mixed(
            utterance.name,
            self.speech[check_index(index, len(self))],
            self.speech.others(utterance.speaker),
            self.speech.rate,
            self.options,
            seeded(self.options.seed, "pair", utterance.name),
            noise=utterance.noise,
            snr=utterance.snr,
            room=utterance.room,
            speaker=utterance.speaker,
        )

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    def digest(self) -> str:
        """As of ``Pairs``."""
        return _digest(self.speech, self.options)


def _digest(speech: Speech, options: MixOptions) -> str:
    found = hashlib.sha256(f"{_VERSION} {options} {CONDITIONS[options.conditions]}".encode())
    found.update(repr([(one.noise, one.snr, one.room) for one in speech.utterances]).encode())
    speech.update(found)
    return found.hexdigest()
