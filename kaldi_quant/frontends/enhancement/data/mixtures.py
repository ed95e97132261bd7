"""Pairs that are mixed when they are asked for: others on each pass for training, always the same for dev and test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from kaldi_quant.frontends.enhancement.data.mixing import mixed
from kaldi_quant.frontends.enhancement.data.options import MixOptions
from kaldi_quant.frontends.enhancement.data.pairs import Pair
from kaldi_quant.frontends.items import check_index
from kaldi_quant.frontends.speech.conditions import CONDITIONS
from kaldi_quant.frontends.speech.speech import Speech
from kaldi_quant.frontends.synthetic.seeds import seeded

# What is mixed alike has the same digest; to be raised where mixtures become others.
_VERSION = 1


class _Mixed:
    """Utterances that are mixed.

    Args:
        speech: clean.
        options: how it is mixed.
    """

    def __init__(self, speech: Speech, options: MixOptions) -> None:
        self.speech, self.options = speech, options

    def __len__(self) -> int:
        return len(self.speech)

    def _pair(self, index: int, random: np.random.Generator, **conditions: Any) -> Pair:
        """An utterance with what is drawn; conditions: those of ``mixed`` that are not."""
        utterance, speech = self.speech.utterances[index], self.speech
        voices, speaker = speech.others(utterance.speaker), utterance.speaker
        return mixed(
            utterance.name, speech[index], voices, speech.rate, self.options, random, speaker=speaker, **conditions
        )

    def digest(self) -> str:
        """As of ``TrainingSource``."""
        found = hashlib.sha256(f"{_VERSION} {self.options} {CONDITIONS[self.options.conditions]}".encode())
        found.update(repr([(one.noise, one.snr, one.room) for one in self.speech.utterances]).encode())
        self.speech.update(found)
        return found.hexdigest()


class Mixtures(_Mixed):
    """A ``TrainingSource``: each utterance once in a pass."""

    def item(self, index: int, number_of_pass: int) -> Pair:
        """As of ``TrainingSource``."""
        index = check_index(index, len(self))
        return self._pair(index, np.random.default_rng([self.options.seed, number_of_pass, index]))


class FixedMixtures(_Mixed):
    """``Pairs``: each utterance with the noise, ratio and room that the table says."""

    def __getitem__(self, index: int) -> Pair:
        index = check_index(index, len(self))
        one = self.speech.utterances[index]
        random = seeded(self.options.seed, "pair", one.name)
        return self._pair(index, random, noise=one.noise, snr=one.snr, room=one.room)

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))
