"""How speech is mixed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.enhancement.data.noise_gain import MIXINGS
from kaldi_quant.frontends.enhancement.data.pairs import Decibels
from kaldi_quant.frontends.speech.conditions import CONDITIONS, HEARD
from kaldi_quant.settings import shares


@dataclass(frozen=True)
class MixOptions:
    """How speech is mixed for training.

    Args:
        style: of ``MIXINGS``: ``active`` or ``mbqat``.
        snr_range: the least and the greatest ratio of speech to noise, in dB; all between are drawn alike.
        snr_list: ratios, all of which are drawn alike, in the place of the range; empty for the range.
        kinds: of noise, all of which are drawn alike; empty for all that the conditions have.
        conditions: of ``CONDITIONS``: the ranges that noises and rooms are drawn from.
        room_share: how many are heard in a room.
        levels: the least and the greatest level of the mixture, in dB below full scale (root mean square); empty where
            speech stays as loud as it is. ``mbqat`` has a level of its own.
        seed: all else follows from it.

    Raises:
        UsageError: a name is unknown, a range is none, a ratio is not finite, a share is not from 0 to 1.
    """

    style: str = "active"
    snr_range: tuple[Decibels, Decibels] = (-5.0, 20.0)
    snr_list: tuple[Decibels, ...] = ()
    kinds: tuple[str, ...] = ()
    conditions: str = HEARD
    room_share: float = 0.3
    levels: tuple[Decibels, Decibels] | None = (-32.0, -18.0)
    seed: int = 0

    def __post_init__(self) -> None:
        MIXINGS[self.style]
        known = CONDITIONS[self.conditions].noises
        for kind in self.kinds:
            if kind not in known:
                raise UsageError(f"the kind of noise {kind!r} is not one of {', '.join(known)}")
        for name, values in (("snr_range", self.snr_range), ("levels", self.levels)):
            if values is not None and not (len(values) == 2 and -math.inf < values[0] <= values[1] < math.inf):
                raise UsageError(f"{name}: expected the least and the greatest in dB, found {list(values)}")
        if not all(map(math.isfinite, self.snr_list)):
            raise UsageError(f"snr_list: expected ratios in dB, found {list(self.snr_list)}")
        shares("mixing", {"room_share": self.room_share})
        if self.seed < 0:
            raise UsageError(f"seed must be 0 or more, found {self.seed}")

    def draw_level(self, random: np.random.Generator) -> Decibels | None:
        """A level, in dB below full scale; None where speech stays as loud as it is."""
        return None if self.levels is None else float(random.uniform(*self.levels))

    def draw_snr(self, random: np.random.Generator) -> Decibels:
        """A ratio, in dB."""
        if self.snr_list:
            return float(self.snr_list[int(random.integers(len(self.snr_list)))])
        return float(random.uniform(*self.snr_range))

    def draw_kind(self, random: np.random.Generator) -> str:
        """A kind of noise."""
        kinds = self.kinds or tuple(CONDITIONS[self.conditions].noises)
        return kinds[int(random.integers(len(kinds)))]


#: As MBQAT's training mixes.
MBQAT = MixOptions(style="mbqat", snr_list=(-5, -4, -3, -2, -1, 0, 2, 5), room_share=0.0, levels=None)
