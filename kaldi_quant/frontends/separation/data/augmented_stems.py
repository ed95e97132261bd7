"""What changes parts of music, each on its own: places, signs, channels, levels and partners."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.data.augmentations import (
    AUGMENTATIONS,
    Randoms,
    SameLength,
    check_range,
    check_share,
)
from kaldi_quant.frontends.signals.stft import Array


@AUGMENTATIONS.add("shift")
@dataclass(frozen=True)
class Shift:
    """Moves each part on its own.

    Args:
        samples: by less than so many.

    Raises:
        UsageError: it is negative.
    """

    samples: int = 8192

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise UsageError(f"shift: samples must be 0 or more, found {self.samples}")

    def needs(self, samples: int) -> int:
        """As of ``Augmentation``."""
        return samples + self.samples

    def __call__(self, parts: Array, randoms: Randoms) -> Array:
        """As of ``Augmentation``."""
        length = parts.shape[-1] - self.samples
        moved = np.empty((*parts.shape[:-1], length), parts.dtype)
        for piece, target, random in zip(parts, moved, randoms, strict=True):
            for place, begin in enumerate(random.integers(max(self.samples, 1), size=len(piece))):
                target[place] = piece[place, :, begin : begin + length]
        return moved


@AUGMENTATIONS.add("flip-sign")
@dataclass(frozen=True)
class FlipSign(SameLength):
    """Turns every second part upside down."""

    def __call__(self, parts: Array, randoms: Randoms) -> Array:
        """As of ``Augmentation``."""
        signs = np.stack([1 - 2 * random.integers(2, size=parts.shape[1]) for random in randoms])
        return parts * signs[:, :, None, None].astype(parts.dtype)


@AUGMENTATIONS.add("flip-channels")
@dataclass(frozen=True)
class FlipChannels(SameLength):
    """Exchanges left and right of every second part; what has not two channels stays as it is."""

    def __call__(self, parts: Array, randoms: Randoms) -> Array:
        """As of ``Augmentation``."""
        if parts.shape[2] != 2:
            return parts
        turned = np.stack([random.integers(2, size=parts.shape[1]) for random in randoms]).astype(bool)
        return np.where(turned[:, :, None, None], parts[:, :, ::-1], parts)


@AUGMENTATIONS.add("scale")
@dataclass(frozen=True)
class Scale(SameLength):
    """Makes each part louder or softer.

    Args:
        low: the least factor.
        high: the greatest.
        share: of pieces that are changed.

    Raises:
        UsageError: the factors are no range, or the share is none.
    """

    low: float = 0.25
    high: float = 1.25
    share: float = 1.0

    def __post_init__(self) -> None:
        check_range("scale", self.low, self.high, 0)
        check_share("scale: share", self.share)

    def __call__(self, parts: Array, randoms: Randoms) -> Array:
        """As of ``Augmentation``."""
        gains = np.ones(parts.shape[:2], parts.dtype)
        for place, random in enumerate(randoms):
            drawn = random.uniform(self.low, self.high, parts.shape[1])
            if random.random() < self.share:
                gains[place] = drawn
        return parts * gains[:, :, None, None]


@AUGMENTATIONS.add("remix")
@dataclass(frozen=True)
class Remix(SameLength):
    """Exchanges parts between the pieces of a minibatch: drums of one song with the voice of another.

    Args:
        group: pieces that exchange parts, one behind the other; 0 for the whole minibatch.
        share: of minibatches that are changed; their first pieces decide.

    Raises:
        UsageError: the group is negative, or the share is none.
    """

    group: int = 0
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.group < 0:
            raise UsageError(f"remix: group must be 0 or more, found {self.group}")
        check_share("remix: share", self.share)

    def __call__(self, parts: Array, randoms: Randoms) -> Array:
        """As of ``Augmentation``."""
        keys = np.stack([random.random(parts.shape[1] + 1) for random in randoms])
        if keys[0, -1] >= self.share:
            return parts
        mixed = np.empty_like(parts)
        size = self.group or len(parts)
        for begin in range(0, len(parts), size):
            order = begin + np.argsort(keys[begin : begin + size, :-1], axis=0)
            for part in range(parts.shape[1]):
                mixed[begin : begin + size, part] = parts[order[:, part], part]
        return mixed
