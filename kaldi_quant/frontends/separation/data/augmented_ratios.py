"""Sources at other ratios to each other, and to noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.data.augmentations import AUGMENTATIONS, Randoms, SameLength, check_share
from kaldi_quant.frontends.signals.stft import Array

# What is so much weaker than the sources is rounding, and no noise.
_NO_NOISE_DB = -60.0


@AUGMENTATIONS.add("snr")
@dataclass(frozen=True)
class Ratios(SameLength):
    """Mixes sources anew: each at a ratio to the sum of those behind it, and all of them at a ratio to noise.

    Of two sources the second changes its level. Where one source is enhanced, its ratio to noise is drawn from the
    range of sources. What is then beyond ``peak`` becomes softer as a whole.

    Args:
        low: the least ratio of sources, in dB.
        high: the greatest; all between are drawn alike.
        noise_low: the least ratio of several sources to noise, in dB.
        noise_high: the greatest.
        peak: which no sample of the mixture goes beyond; full scale is 1.
        share: of pieces that are changed.

    Raises:
        UsageError: a value is impossible.
    """

    low: float = -10.0
    high: float = 10.0
    noise_low: float = 6.0
    noise_high: float = 18.0
    peak: float = 0.9
    share: float = 1.0

    def __post_init__(self) -> None:
        for low, high in ((self.low, self.high), (self.noise_low, self.noise_high)):
            if not -math.inf < low <= high < math.inf:
                raise UsageError(f"snr: expected the least and the greatest in dB, found {low} and {high}")
        if not 0 < self.peak < math.inf:
            raise UsageError(f"snr: peak must be above 0, found {self.peak}")
        check_share("snr: share", self.share)

    def __call__(self, parts: Array, randoms: Randoms) -> Array:
        """As of ``Augmentation``."""
        for piece, random in zip(parts, randoms, strict=True):
            ratios = random.uniform(self.low, self.high, len(piece) - 1)
            if len(piece) > 2:
                ratios[-1] = random.uniform(self.noise_low, self.noise_high)
            if random.random() < self.share:
                self._mix(piece, ratios.tolist())
        return parts

    def _mix(self, piece: Array, ratios: list[float]) -> None:
        sources, noise = piece[:-1], piece[-1]
        for place in range(len(sources) - 2, -1, -1):
            behind = sources[place + 1 :]
            behind *= _gain(sources[place], behind.sum(axis=0), ratios[place])
        speech = sources.sum(axis=0)
        if _power(noise) > _power(speech) * 10 ** (_NO_NOISE_DB / 10):
            noise *= _gain(speech, noise, ratios[-1])
        highest = float(np.abs(piece.sum(axis=0)).max())
        if highest > self.peak:
            piece *= np.float32(self.peak / highest)


def _power(wave: Array) -> float:
    return float(np.square(wave, dtype=np.float64).mean())


def _gain(first: Array, second: Array, ratio: float) -> np.float32:
    """What the second is to be multiplied by, that the first is so many dB above it; 1 where one of them is silent."""
    powers = _power(first), _power(second)
    return np.float32(math.sqrt(powers[0] / powers[1] * 10 ** (-ratio / 10)) if all(powers) else 1.0)
