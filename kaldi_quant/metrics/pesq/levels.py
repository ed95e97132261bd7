"""What both signals go through before they are compared: a common level, and the receiver's filter."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from kaldi_quant.units import Hertz

Array = np.ndarray[Any, np.dtype[np.float64]]
#: Narrow band as through a telephone's handset, wide band as through headphones.
Band = Literal["nb", "wb"]

#: Silence that follows each signal, in seconds.
PADDING = 0.32
# The power that speech is brought to, of frequencies from 350 to 3250 Hz.
_POWER = 1e7
# Responses in dB at frequencies in Hz; between these they are straight.
_SPEECH = ((0, 300, 350, 3250, 3500, 8000), (-500, -500, 0, 0, -500, -500))
# The modified intermediate reference system's receiving side.
_HANDSET = (
    (0, 50, 100, 125, 160, 200, 250, 300, 350, 400, 500, 600, 3250, 3500, 4000, 8000),
    (-200, -40, -20, -12, -6, 0, 4, 6, 8, 10, 11, 12, 12, 4, -200, -200),
)
# P.862.2's filter of the second order: numerator and denominator in powers of the delay.
_HEADPHONES: dict[Hertz, tuple[tuple[float, ...], tuple[float, ...]]] = {
    16000: ((2.740826, -5.4816519, 2.740826), (1.0, -1.9444777, 0.94597794)),
}
# The response of that filter has died away after so many samples.
_RINGING = 2048
_FADED = 15


def padded(signal: Array, rate: Hertz) -> Array:
    """The signal, and silence behind it."""
    return np.concatenate([signal, np.zeros(round(PADDING * rate))])


def levelled(signal: Array, rate: Hertz) -> Array:
    """A signal with its padding at the common level.

    Args:
        signal: (n,) with padding.
        rate: in Hz.
    """
    power = float(np.square(_filtered(signal, rate, *_SPEECH)).sum()) / len(signal)
    return signal * np.sqrt(_POWER / power) if power else signal


def received(signal: Array, rate: Hertz, band: Band) -> Array:
    """A signal with its padding as the listener hears it.

    Args:
        signal: (n,) with padding.
        rate: 8000 or 16000 Hz; wide band has 16000.
        band: through what.
    """
    if band == "nb":
        return _filtered(signal, rate, *_HANDSET)
    length = len(signal) - round(PADDING * rate)
    fade = np.arange(1, _FADED + 1) / (_FADED + 1)
    heard = signal[:length].copy()
    heard[:_FADED] *= fade
    heard[-_FADED:] *= fade[::-1]
    numerator, denominator = _HEADPHONES[rate]
    size = _power_of_two(length + _RINGING)
    response = np.fft.rfft(numerator, size) / np.fft.rfft(denominator, size)
    found = np.zeros_like(signal)
    found[:length] = np.fft.irfft(np.fft.rfft(heard, size) * response, size)[:length]
    return found


def _filtered(signal: Array, rate: Hertz, frequencies: tuple[int, ...], decibels: tuple[int, ...]) -> Array:
    """Filtered without delay, at 1 kHz with a gain of 1."""
    size = _power_of_two(len(signal))
    gains = np.interp(np.fft.rfftfreq(size, 1 / rate), frequencies, decibels) - np.interp(1000, frequencies, decibels)
    return np.fft.irfft(np.fft.rfft(signal, size) * 10 ** (gains / 20), size)[: len(signal)]


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()
