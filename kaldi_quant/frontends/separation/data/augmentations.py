"""What changes pieces of training at random: their levels, signs, channels, places, speeds and partners.

A minibatch is ``parts: (N, S + 1, C, t) float32``: of each mixture the sources and, last, what is of no source, such
as noise. The mixture is the sum of all. All that is random of a mixture follows from its own generator.

Sources: FlipChannels, FlipSign, Scale, Shift, Remix and Repitch as of A. Défossez et al., "Music source separation in
the waveform domain", 2019; speeds as of C. Subakan et al., "Attention is all you need in speech separation", 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.registry import Registry
from kaldi_quant.settings import changed

Randoms = Sequence[np.random.Generator]


class Augmentation(Protocol):
    """A way to change pieces."""

    def needs(self, samples: int) -> int:
        """How long pieces must be, that so many samples are left."""

    def __call__(self, parts: Array, randoms: Randoms) -> Array:
        """Changes pieces.

        Args:
            parts: (N, S + 1, C, t) float32; it may be written to.
            randoms: of each of the N.

        Returns:
            (N, S + 1, C, u) float32, with u as ``needs`` says.
        """


#: By name, each a dataclass of its options.
AUGMENTATIONS: Registry[type[Any]] = Registry("augmentation")
AUGMENTATIONS.declare("snr", f"{__name__.rpartition('.')[0]}.augmented_ratios")
for _name in ("speed", "repitch"):
    AUGMENTATIONS.declare(_name, f"{__name__.rpartition('.')[0]}.augmented_speeds")
for _name in ("shift", "flip-sign", "flip-channels", "scale", "remix"):
    AUGMENTATIONS.declare(_name, f"{__name__.rpartition('.')[0]}.augmented_stems")


def augmentations(chosen: Mapping[str, Mapping[str, Any] | None], where: str = "augmentations") -> list[Augmentation]:
    """Augmentations by their names, in the order in which they are named.

    Args:
        chosen: name → options that differ from the defaults.
        where: they stand, for messages.

    Raises:
        UsageError: there is no such augmentation or option, or a value is impossible.

    Example:
        >>> augmentations({"shift": {"samples": 800}, "flip-sign": None})
        [Shift(samples=800), FlipSign()]
    """
    return [changed(AUGMENTATIONS[name](), dict(options or {}), f"{where}, {name}") for name, options in chosen.items()]


@dataclass(frozen=True)
class SameLength:
    """What leaves pieces as long as they are."""

    def needs(self, samples: int) -> int:
        """As of ``Augmentation``."""
        return samples


def check_range(where: str, low: float, high: float, least: float) -> None:
    """Refuses what is no range of numbers of ``least`` or more.

    Raises:
        UsageError: it is none.
    """
    if not least <= low <= high < float("inf"):
        raise UsageError(f"{where}: expected the least and the greatest, from {least:g} on, found {low} and {high}")


def check_share(where: str, share: float) -> None:
    """Refuses what is no share.

    Raises:
        UsageError: it is none.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"{where} must be from 0 to 1, found {share}")
