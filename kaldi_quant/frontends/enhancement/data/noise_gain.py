"""How loud noise is added to speech, and how loud both are then."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.enhancement.data.pairs import Decibels
from kaldi_quant.frontends.signals.level import at_level, mix, rms
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.registry import Registry
from kaldi_quant.units import Hertz

# MBQAT's, against divisions by zero.
_EPSILON = 1e-8


class Mixing(Protocol):
    """A way of mixing."""

    def __call__(
        self, speech: Array, noise: Array, snr: Decibels, rate: Hertz, level: Decibels | None
    ) -> tuple[Array, float]:
        """Adds noise to speech.

        Args:
            speech: (n,) float32.
            noise: (n,) float32, of any level.
            snr: the ratio of speech to noise, in dB.
            rate: in Hz.
            level: of the mixture, in dB below full scale; None where speech stays as loud as it is.

        Returns:
            the mixture (n,) float32, and by what the speech in it was multiplied.

        Raises:
            DataError: speech or noise is silence.
        """


MIXINGS: Registry[Mixing] = Registry("way of mixing")


@MIXINGS.add("active")
def _active(speech: Array, noise: Array, snr: Decibels, rate: Hertz, level: Decibels | None) -> tuple[Array, float]:
    """The ratio is that of speech without its pauses."""
    noisy = mix(speech, noise, snr, rate)
    if level is None:
        return noisy, 1.0
    levelled = at_level(noisy, level)
    return levelled, rms(levelled) / rms(noisy)


@MIXINGS.add("mbqat")
def _mbqat(speech: Array, noise: Array, snr: Decibels, rate: Hertz, level: Decibels | None) -> tuple[Array, float]:
    """The ratio is that of the whole signals, and the mixture has a root mean square of 1, whatever level is given."""
    powers = [float(np.square(wave, dtype=np.float64).sum()) for wave in (speech, noise)]
    if not all(powers):
        raise DataError("speech or noise is silence: there is no signal-to-noise ratio")
    gain = math.sqrt(powers[0] / (powers[1] + _EPSILON) / 10 ** (snr / 10) + _EPSILON)
    mixture = speech + np.float32(gain) * noise
    scale = 1 / rms(mixture)
    return (mixture * np.float32(scale)).astype(np.float32), scale
