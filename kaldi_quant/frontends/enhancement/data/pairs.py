"""What enhancement is trained and measured on: pairs of noisy and clean speech, in three splits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.units import Hertz

#: Decibels.
Decibels = float


@dataclass(frozen=True)
class Pair:
    """Noisy speech, and what enhancement is to make of it.

    Attributes:
        name: its own, as scores have it.
        noisy: (S,) float32, full scale is 1; it may go beyond.
        clean: (S,) float32, sample by sample the speech in ``noisy``.
        noise: the kind of noise, for tables; empty where it is not known.
        snr: the ratio of speech to noise that was asked for, in dB; None where it is not known.
        speaker: who speaks; empty where it is not known.
    """

    name: str
    noisy: Array
    clean: Array
    noise: str = ""
    snr: Decibels | None = None
    speaker: str = ""


class TrainingSource(Protocol):
    """Pairs to train on, which may be others on each pass."""

    def __len__(self) -> int:
        """Pairs of a pass."""

    def item(self, index: int, number_of_pass: int) -> Pair:
        """A pair: the same whenever and wherever it is asked for.

        Args:
            index: from 0 to below the length.
            number_of_pass: counted from 0.

        Raises:
            DataError: its audio cannot be used.
        """

    def digest(self) -> str:
        """What tells this source from others, in hex: it depends on all audio and all options."""


class Pairs(Protocol):
    """Pairs to measure on: a sequence whose entries are read or mixed when they are asked for."""

    def __len__(self) -> int:
        """Pairs."""

    def __getitem__(self, index: int) -> Pair:
        """A pair, always the same.

        Raises:
            IndexError: there is none of that number.
            DataError: its audio cannot be used.
        """

    def __iter__(self) -> Iterator[Pair]:
        """All, in order."""

    def digest(self) -> str:
        """As of ``TrainingSource``."""


@dataclass(frozen=True)
class EnhancementSet:
    """Pairs in three splits.

    Attributes:
        name: of the layout that it was read in.
        rate: of all waves, in Hz.
        train: what networks are trained on.
        dev: what settings are chosen on.
        test: what is scored once.
    """

    name: str
    rate: Hertz
    train: TrainingSource
    dev: Pairs
    test: Pairs


def check_pair(pair: Pair) -> Pair:
    """Refuses pairs that nothing can be learned from or measured on.

    Raises:
        DataError: it is empty, or noisy and clean differ in length; names it.
    """
    if len(pair.noisy) != len(pair.clean):
        raise DataError(
            f"{pair.name}: noisy and clean speech must be equally long, found {len(pair.noisy)} and "
            f"{len(pair.clean)} samples"
        )
    if not len(pair.clean):
        raise DataError(f"{pair.name} is empty")
    return pair
