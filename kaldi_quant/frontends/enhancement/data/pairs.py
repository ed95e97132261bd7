"""What enhancement is trained and measured on: pairs of noisy and clean speech, in three splits."""

from __future__ import annotations

from dataclasses import dataclass

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.items import FixedItems, Items
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


#: What is trained on: pairs, which may be others on each pass.
TrainingSource = Items[Pair]
#: What is measured on.
Pairs = FixedItems[Pair]


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
