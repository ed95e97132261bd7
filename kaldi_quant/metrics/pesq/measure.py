"""PESQ of a pair of signals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.metrics.pesq.levels import Band, levelled, padded, received
from kaldi_quant.metrics.pesq.model import Perception
from kaldi_quant.metrics.pesq.realignment import disturbances
from kaldi_quant.units import Hertz, Seconds

#: A signal that is shorter has no score.
SHORTEST: Seconds = 0.25
#: Nor has a reference with less speech.
LEAST_SPEECH: Seconds = 0.2

# How much the disturbances count.
_BEST, _SYMMETRIC, _ASYMMETRIC = 4.5, 0.1, 0.0309
# From what the model finds to the mean opinion score: P.862.1 for narrow band, P.862.2 for wide band.
_CURVES: dict[Band, tuple[float, float]] = {"nb": (-1.4945, 4.6607), "wb": (-1.3669, 3.8224)}
_FLOOR, _RANGE = 0.999, 4.0
# What is so much weaker than the loudest 4 ms is no speech.
_BLOCK: Seconds = 0.004
_SPEECH_DB = 40.0


def pesq(reference: np.ndarray[Any, Any], degraded: np.ndarray[Any, Any], rate: Hertz, band: Band) -> float:
    """The mean opinion score, from 1.0 to 4.64 (wide band) or 4.55 (narrow band).

    Signals are compared as they lie: delays within one of them are found only where it disturbs very much.

    Args:
        reference, degraded: (n,) each, of any level.
        rate: 8000 or 16000 Hz; wide band has 16000.
        band: nb (P.862 and P.862.1) or wb (P.862.2).

    Raises:
        DataError: a quarter of a second, or a fifth of a second of speech in the reference, is not there.

    Example:
        >>> time = np.arange(16000) / 16000
        >>> speech = np.sin(2000 * time) * np.sin(20 * time)
        >>> round(pesq(speech, speech, 16000, "wb"), 2)
        4.64
    """
    check_reference(reference, rate)
    largest = max(float(np.abs(signal).max()) for signal in (reference, degraded))
    heard = []
    for signal in (reference, degraded):
        level = levelled(padded(signal.astype(np.float64) / largest, rate), rate)
        heard.append(received(level, rate, band))
    perception = Perception(heard[0], heard[1], rate)
    symmetric, asymmetric = (perception.total(each) for each in disturbances(perception, heard[0], heard[1]))
    slope, offset = _CURVES[band]
    raw = _BEST - _SYMMETRIC * symmetric - _ASYMMETRIC * asymmetric
    return _FLOOR + _RANGE / (1.0 + math.exp(slope * raw + offset))


def check_reference(reference: np.ndarray[Any, Any], rate: Hertz) -> None:
    """Refuses a reference that no score can be found with.

    Args:
        reference: (n,).
        rate: in Hz.

    Raises:
        DataError: it is too short, or holds too little speech.
    """
    if len(reference) < SHORTEST * rate:
        raise DataError(f"PESQ needs a quarter of a second, found {len(reference) / rate:.3f} s")
    if _speech(reference, rate) < LEAST_SPEECH:
        raise DataError("PESQ finds no speech in the reference")


def _speech(signal: np.ndarray[Any, Any], rate: Hertz) -> Seconds:
    """From where it begins to where it ends, in blocks of 4 ms."""
    block = round(_BLOCK * rate)
    whole = signal[: len(signal) // block * block].astype(np.float64)
    powers = np.square(whole).reshape(-1, block).mean(axis=1)
    if not powers.any():
        return 0.0
    loud = np.flatnonzero(powers > powers.max() * 10 ** (-_SPEECH_DB / 10))
    return float(loud[-1] + 1 - loud[0]) * _BLOCK
