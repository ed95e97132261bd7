"""Tones of many harmonics, and what shapes them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.units import Hertz, Seconds

# Values of one period: linear interpolation between them is 60 dB and more below harmonics of which there are dozens.
_TABLE = 4096
# No harmonic is higher, as a share of the rate.
_HIGHEST = 0.45


def harmonics_within(frequency: float, rate: Hertz, most: int = 64) -> Array:
    """The numbers (count,) of the harmonics of a tone that a rate can hold; at least the first."""
    return np.arange(1, max(1, min(most, int(_HIGHEST * rate / frequency))) + 1)


def periodic(phase: Array, amplitudes: Array, phases: Array) -> Array:
    """A tone.

    Args:
        phase: (n,) float64, of the fundamental, in periods.
        amplitudes: (count,), of the first harmonics.
        phases: (count,), theirs, in periods.

    Returns:
        (n,) float32.
    """
    spectrum = np.zeros(_TABLE // 2 + 1, np.complex128)
    spectrum[1 : len(amplitudes) + 1] = amplitudes * np.exp(2j * np.pi * phases) * (_TABLE / 2)
    table = np.fft.irfft(spectrum, _TABLE).astype(np.float32)
    table = np.append(table, table[0])
    place = (phase - np.floor(phase)) * _TABLE
    whole = place.astype(np.int32)
    np.minimum(whole, _TABLE - 1, out=whole)
    part = (place - whole).astype(np.float32)
    return table[whole] * (1 - part) + table[whole + 1] * part


def swelling(samples: int, rate: Hertz, attack: Seconds, release: Seconds, decay: Seconds = np.inf) -> Array:
    """(samples,): rises within ``attack``, falls to 1/e within ``decay``, at its end to 0 within ``release``."""
    time = np.arange(samples, dtype=np.float32) / rate
    shape = np.minimum(time / attack, 1)
    shape *= np.minimum((samples / rate - time) / release, 1)
    return shape * np.exp(-time / np.float32(decay)) if np.isfinite(decay) else shape


def add(track: Array, begin: int, sound: Array) -> None:
    """Adds a sound (..., n) to a track (..., samples) from a sample on; what is beyond its end is cut off."""
    part = track[..., max(begin, 0) : begin + sound.shape[-1]]
    part += sound[..., max(-begin, 0) : max(-begin, 0) + part.shape[-1]]


def panned(sound: Array, place: float) -> Array:
    """(2, n) of (n,): from 0, left, to 1, right, of the same power everywhere."""
    return np.stack([sound * np.float32(np.cos(place * np.pi / 2)), sound * np.float32(np.sin(place * np.pi / 2))])


def drawn_once(make: Callable[[int], Array]) -> Callable[[int], Array]:
    """A function of whole numbers that keeps what it has made."""
    kept: dict[int, Array] = {}

    def kept_or_made(number: int) -> Array:
        if number not in kept:
            kept[number] = make(number)
        return kept[number]

    return kept_or_made
