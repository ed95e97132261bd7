"""Rooms, simply: the direct sound, and behind it noise that dies away.

Source: J.-D. Polack, "La transmission de l'énergie sonore dans les salles", 1988: behind the first reflections, a
room's answer to an impulse is white noise whose power falls exponentially.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve

from kaldi_quant.frontends.signals.level import rms
from kaldi_quant.units import Hertz, Seconds

# Reflections arrive this much behind the direct sound: a wall at one metre.
_FIRST_REFLECTION: Seconds = 0.003


def impulse_response(rt60: Seconds, direct_db: float, rate: Hertz, random: np.random.Generator) -> np.ndarray:
    """A room's answer to an impulse.

    Args:
        rt60: the time in which reflections fall by 60 dB, above 0.
        direct_db: the ratio of the energies of direct sound and reflections, in dB.
        rate: in Hz.
        random: the reflections follow from it.

    Returns:
        (n,) float32; the direct sound is 1, at sample 0.
    """
    first = max(1, round(_FIRST_REFLECTION * rate))
    time = np.arange(first, max(first + 1, round(rt60 * rate))) / rate
    # A factor of 1000 in amplitude is 60 dB.
    reflections = random.standard_normal(len(time)) * 1000.0 ** (-time / rt60)
    energy = rms(reflections) ** 2 * len(reflections)
    reflections *= np.sqrt(10 ** (-direct_db / 10) / max(energy, np.finfo(np.float64).tiny))
    return np.concatenate([[1.0], np.zeros(first - 1), reflections]).astype(np.float32)


def reverberate(wave: np.ndarray, response: np.ndarray) -> np.ndarray:
    """What a wave (n,) sounds like in a room; (n,) float32, the reverberation behind its end is cut off."""
    return fftconvolve(wave, response)[: len(wave)].astype(np.float32)
