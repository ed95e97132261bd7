"""The zoo's five scores of a clip, defined for every clip: pesq (wide band), stoi, snr, sisnr, mse.

What is not defined has a value: where PESQ finds no speech, 1, the lowest note of listeners; where STOI finds too
little, 1e-5, as pystoi gives it; ratios go from -100 to 100 dB. So a silent or a very short clip ends no run.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.metrics import speech
from kaldi_quant.metrics.speech import Signal, decibels
from kaldi_quant.units import Hertz

_NO_PESQ, _NO_STOI = 1.0, 1e-5
#: The wide band of PESQ is defined for it alone.
PESQ_RATE: Hertz = 16000

#: The value for a clean clip, an enhanced one of as many samples, and their rate.
Measure = Callable[[Signal, Signal, Hertz], float]


def pesq(clean: Signal, enhanced: Signal, rate: Hertz) -> float:
    """ITU-T P.862.2; 1 where it is not defined."""
    try:
        return speech.pesq(clean, enhanced, rate)
    except DataError:
        return _NO_PESQ


def stoi(clean: Signal, enhanced: Signal, rate: Hertz) -> float:
    """The short-time objective intelligibility; 1e-5 where it is not defined."""
    try:
        return speech.stoi(clean, enhanced, rate)
    except DataError:
        return _NO_STOI


def snr(clean: Signal, enhanced: Signal, rate: Hertz = 0) -> float:
    """The energy of the clean clip out of that of the difference, in dB.

    Example:
        >>> snr(np.array([2.0, 0]), np.array([2.0, 2]))
        0.0
    """
    reference, given = clean.astype(np.float64), enhanced.astype(np.float64)
    return decibels(float(reference @ reference), float(np.sum((given - reference) ** 2)))


def sisnr(clean: Signal, enhanced: Signal, rate: Hertz = 0) -> float:
    """The same with the clean clip at the level that fits best, in dB; means stay as they are.

    Example:
        >>> sisnr(np.array([1.0, 0]), np.array([3.0, 3]))
        0.0
    """
    reference, given = clean.astype(np.float64), enhanced.astype(np.float64)
    energy = float(reference @ reference)
    target = reference * (float(reference @ given) / energy) if energy else reference
    return decibels(float(target @ target), float(np.sum((given - target) ** 2)))


def mse(clean: Signal, enhanced: Signal, rate: Hertz = 0) -> float:
    """The mean squared difference of samples; 0 where there are none."""
    if not len(clean):
        return 0.0
    return float(np.mean((enhanced.astype(np.float64) - clean.astype(np.float64)) ** 2))


#: In the order in which they are written.
MEASURES: dict[str, Measure] = {"pesq": pesq, "stoi": stoi, "snr": snr, "sisnr": sisnr, "mse": mse}


def measured(clean: Signal, enhanced: Signal, rate: Hertz) -> dict[str, float]:
    """All five of a clip.

    Args:
        clean: (samples,).
        enhanced: (samples,).
        rate: of both, ``PESQ_RATE``.

    Raises:
        MissingDependencyError: the package pesq or pystoi is not installed.
    """
    assert rate == PESQ_RATE, rate
    return {name: measure(clean, enhanced, rate) for name, measure in MEASURES.items()}
