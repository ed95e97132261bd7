"""What separation is trained and measured on: mixtures with their sources, in three splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.items import FixedItems, Items
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.units import Hertz


@dataclass(frozen=True)
class Mixture:
    """What is heard, and what separation is to make of it.

    Attributes:
        name: its own, as scores have it.
        mixture: (C, T) float32.
        sources: (S, C, T) float32, sample by sample the sources in ``mixture``.
    """

    name: str
    mixture: Array
    sources: Array

    @property
    def samples(self) -> int:
        """Of each channel."""
        return int(self.mixture.shape[-1])

    @property
    def rest(self) -> Array:
        """(C, T) float32: what is heard and is of no source, such as noise."""
        return self.mixture - self.sources.sum(axis=0)


#: What is trained on: mixtures, which may be others on each pass.
TrainingSource = Items[Mixture]


#: What is measured on.
Mixtures = FixedItems[Mixture]


@dataclass(frozen=True)
class SeparationSet:
    """Mixtures in three splits.

    Attributes:
        name: of the layout that it was read in.
        rate: of all waves, in Hz.
        sources: the names of the sources, in the order in which mixtures have them.
        channels: of each wave.
        train: what networks are trained on; it may be empty, as may the next two.
        dev: what settings are chosen on.
        test: what is scored once.
        is_normalized: whether mixtures have mean 0 and standard deviation 1 (``normalization``).
    """

    name: str
    rate: Hertz
    sources: tuple[str, ...]
    channels: int
    train: TrainingSource
    dev: Mixtures
    test: Mixtures
    is_normalized: bool = False


def check_mixture(mixture: Mixture) -> Mixture:
    """Refuses mixtures that nothing can be learned from or measured on.

    Raises:
        DataError: it is empty, has values that are not finite, or its waves differ in length; names it.
    """
    if mixture.sources.shape[1:] != mixture.mixture.shape:
        raise DataError(
            f"{mixture.name}: the mixture and its sources must be equally long and of as many channels, found "
            f"{mixture.mixture.shape} and {mixture.sources.shape[1:]}"
        )
    if not mixture.mixture.size:
        raise DataError(f"{mixture.name} is empty")
    if not (np.isfinite(mixture.mixture).all() and np.isfinite(mixture.sources).all()):
        raise DataError(f"{mixture.name} has samples that are not finite (NaN or infinity)")
    return mixture
