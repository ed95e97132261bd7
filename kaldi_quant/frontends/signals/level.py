"""How loud signals are, and mixtures at a signal-to-noise ratio."""

from __future__ import annotations

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.units import Hertz, Seconds

# What is so much weaker than a recording's loudest frame is a pause.
_PAUSE_DB = 40.0
_FRAME: Seconds = 0.02
# What is so much weaker than the peak, before speech and behind it, is silence.
_SILENCE_DB = 40.0


def rms(wave: np.ndarray) -> float:
    """The root mean square of samples (n,); 0 where there are none."""
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64)))) if len(wave) else 0.0


def active_rms(speech: np.ndarray, rate: Hertz) -> float:
    """The root mean square over what is no pause: frames of 20 ms that are at most 40 dB below the loudest.

    Args:
        speech: (n,).
        rate: in Hz.
    """
    length = max(1, int(_FRAME * rate))
    padded = np.concatenate([speech, np.zeros(-len(speech) % length)])
    powers = np.square(padded, dtype=np.float64).reshape(-1, length).mean(axis=1)
    if not powers.any():
        return 0.0
    return float(np.sqrt(powers[powers >= powers.max() * 10 ** (-_PAUSE_DB / 10)].mean()))


def mix(speech: np.ndarray, noise: np.ndarray, snr_db: float, rate: Hertz) -> np.ndarray:
    """Adds noise to speech.

    Args:
        speech: (n,); it stays as loud as it is.
        noise: (n,), of any level.
        snr_db: the ratio of the powers of speech, without its pauses, and noise, in dB.
        rate: in Hz.

    Returns:
        (n,) float32; it may go beyond full scale.

    Raises:
        DataError: speech or noise is silence, so that there is no ratio, or they differ in length.

    Example:
        >>> speech = np.sin(np.arange(16000) / 5)
        >>> noisy = mix(speech, make_noise("pink", 16000, 16000, np.random.default_rng(1)), 10.0, 16000)
        >>> round(20 * np.log10(rms(speech) / rms(noisy - speech)), 1)
        10.0
    """
    if len(speech) != len(noise):
        raise DataError(f"expected as many samples of noise as of speech, found {len(noise)} and {len(speech)}")
    levels = active_rms(speech, rate), rms(noise)
    if not all(levels):
        raise DataError("speech or noise is silence: there is no signal-to-noise ratio")
    return (speech + noise * (levels[0] / levels[1] * 10 ** (-snr_db / 20))).astype(np.float32)


def at_level(wave: np.ndarray, dbfs: float, peak: float = 0.99) -> np.ndarray:
    """Brings a signal to a level.

    Args:
        wave: (n,), not silence.
        dbfs: its root mean square, in dB below full scale, 0 for 1.
        peak: where samples would go beyond it, the level is so much lower that none does.

    Returns:
        (n,) float32.

    Raises:
        DataError: it is silence.
    """
    level = rms(wave)
    if level == 0:
        raise DataError("silence cannot be brought to a level")
    gain = min(10 ** (dbfs / 20) / level, peak / float(np.abs(wave).max()))
    return (wave * gain).astype(np.float32)


def trim(speech: np.ndarray) -> np.ndarray:
    """Speech (n,) without the silence at both ends.

    Raises:
        DataError: it is all silence.
    """
    loud = np.flatnonzero(np.abs(speech) > np.abs(speech).max(initial=0.0) * 10 ** (-_SILENCE_DB / 20))
    if not len(loud):
        raise DataError("there is nothing but silence")
    return speech[loud[0] : loud[-1] + 1]
