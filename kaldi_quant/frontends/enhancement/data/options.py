"""How speech is mixed, and what of a folder is read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.frontends.enhancement.data.conditions import CONDITIONS, HEARD
from kaldi_quant.frontends.enhancement.data.pairs import Decibels
from kaldi_quant.frontends.signals.level import mix, rms
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.registry import Registry
from kaldi_quant.settings import shares
from kaldi_quant.units import Hertz

#: The ratios of MBQAT's training, ``tr_snr``.
MBQAT_SNRS: tuple[Decibels, ...] = (-5, -4, -3, -2, -1, 0, 2, 5)
# MBQAT's, against divisions by zero.
_EPSILON = 1e-8

#: Adds noise (n,) to speech (n,): (speech, noise, ratio in dB, rate) → the mixture (n,), and by what the speech in it
#: was multiplied.
Mixing = Callable[[Array, Array, Decibels, Hertz], tuple[Array, float]]

MIXINGS: Registry[Mixing] = Registry("way of mixing")


@MIXINGS.add("active")
def _active(speech: Array, noise: Array, snr: Decibels, rate: Hertz) -> tuple[Array, float]:
    """The ratio is that of speech without its pauses; speech stays as loud as it is."""
    return mix(speech, noise, snr, rate), 1.0


@MIXINGS.add("mbqat")
def _mbqat(speech: Array, noise: Array, snr: Decibels, rate: Hertz) -> tuple[Array, float]:
    """The ratio is that of the whole signals, and the mixture has a root mean square of 1."""
    powers = [float(np.square(wave, dtype=np.float64).sum()) for wave in (speech, noise)]
    if not all(powers):
        raise DataError("speech or noise is silence: there is no signal-to-noise ratio")
    gain = math.sqrt(powers[0] / (powers[1] + _EPSILON) / 10 ** (snr / 10) + _EPSILON)
    mixture = speech + np.float32(gain) * noise
    scale = 1 / rms(mixture)
    return (mixture * np.float32(scale)).astype(np.float32), scale


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

    def draw_snr(self, random: np.random.Generator) -> Decibels:
        """A ratio, in dB."""
        if self.snr_list:
            return float(self.snr_list[int(random.integers(len(self.snr_list)))])
        return float(random.uniform(*self.snr_range))

    def draw_kind(self, random: np.random.Generator) -> str:
        """A kind of noise."""
        kinds = self.kinds or tuple(CONDITIONS[self.conditions].noises)
        return kinds[int(random.integers(len(kinds)))]
