"""What changes how fast parts are played: their pitch and their tempo change together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.data.augmentations import AUGMENTATIONS, Randoms, check_share
from kaldi_quant.frontends.signals.audio import resample
from kaldi_quant.frontends.signals.stft import Array

# Speeds are told from each other by so many parts of the usual one.
_PARTS = 10000


@AUGMENTATIONS.add("speed")
@dataclass(frozen=True)
class Speed:
    """Plays each part at a speed of its own.

    Args:
        percent: speeds, all of which are drawn alike; 95 is slower.

    Raises:
        UsageError: there is none, or one is not from 50 to 200.
    """

    percent: tuple[int, ...] = (95, 100, 105)

    def __post_init__(self) -> None:
        if not self.percent or not all(50 <= speed <= 200 for speed in self.percent):
            raise UsageError(f"speed: percent must be speeds from 50 to 200, found {list(self.percent)}")

    def needs(self, samples: int) -> int:
        """As of ``Augmentation``."""
        return math.ceil(samples * max(self.percent) / 100) + 1

    def __call__(self, parts: Array, randoms: Randoms) -> Array:
        """As of ``Augmentation``."""
        played = [
            [
                _played(part, self.percent[place] / 100)
                for part, place in zip(piece, random.integers(len(self.percent), size=len(piece)), strict=True)
            ]
            for piece, random in zip(parts, randoms, strict=True)
        ]
        return _stacked(played, max(self.percent) / 100, parts.shape[-1])


@AUGMENTATIONS.add("repitch")
@dataclass(frozen=True)
class Repitch:
    """Plays all parts of a piece at another speed, so that their pitch changes.

    Other tools keep the tempo while they change the pitch, or change both, each on its own: here one follows from the
    other, as of a record that is played too fast.

    Args:
        semitones: by up to so many.
        share: of pieces that are changed.

    Raises:
        UsageError: a value is impossible.
    """

    semitones: float = 2.0
    share: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.semitones <= 12:
            raise UsageError(f"repitch: semitones must be from 0 to 12, found {self.semitones}")
        check_share("repitch: share", self.share)

    @property
    def _fastest(self) -> float:
        return float(2 ** (self.semitones / 12))

    def needs(self, samples: int) -> int:
        """As of ``Augmentation``."""
        return math.ceil(samples * self._fastest) + 1

    def __call__(self, parts: Array, randoms: Randoms) -> Array:
        """As of ``Augmentation``."""
        played = []
        for piece, random in zip(parts, randoms, strict=True):
            semitones, chance = random.uniform(-self.semitones, self.semitones), random.random()
            speed = 2 ** (semitones / 12) if chance < self.share else 1.0
            played.append([_played(part, speed) for part in piece])
        return _stacked(played, self._fastest, parts.shape[-1])


def _played(part: Array, speed: float) -> Array:
    """(C, about t / speed)."""
    if speed == 1 or not part.any():
        return part
    return resample(part.T, round(speed * _PARTS), _PARTS).T


def _stacked(played: list[list[Array]], fastest: float, length: int) -> Array:
    """(N, P, C, u): all as long as what is played fastest; silence stands behind what is a sample too short."""
    length = math.floor((length - 1) / fastest)
    return np.stack(
        [
            np.stack([np.pad(part[:, :length], ((0, 0), (0, max(0, length - part.shape[1])))) for part in piece])
            for piece in played
        ]
    )
