"""How good speech is that was made of noisy speech, beside what it should have been: PESQ, STOI and SI-SDR.

Signals are (samples,), of one rate, as long as each other. All three need a reference that is not silent. A silent
estimate has the lowest value of each scale.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from kaldi_quant.errors import DataError, MissingDependencyError, UsageError
from kaldi_quant.metrics.known import PESQ, SI_SDR, STOI
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.metrics.score import Score, shown_name
from kaldi_quant.registry import Registry
from kaldi_quant.units import Hertz

#: (samples,) of floats.
Signal = np.ndarray[Any, np.dtype[Any]]
#: The value for a reference, an estimate and their rate.
Measure = Callable[[Signal, Signal, Hertz], float]

#: SI-SDR is from minus this to this: equal signals have no finite one, nor has silence.
MOST_SI_SDR = 100.0

# The lower end of the curve of ITU-T P.862.2.
_LEAST_PESQ = 0.999
# What each rate is measured with, by P.862.2 and P.862.1.
_BANDS = {16000: "wb", 8000: "nb"}
# pystoi's value where too few frames hold speech.
_NO_STOI = 1e-5

#: By the names of metrics.
MEASURES: Registry[Measure] = Registry("measure of speech")


@MEASURES.add(PESQ.name)
def pesq(reference: Signal, estimate: Signal, rate: Hertz) -> float:
    """ITU-T P.862: wide band at 16 kHz (P.862.2), narrow band at 8 kHz.

    Raises:
        DataError: it is not defined for these signals; says why.
        MissingDependencyError: the package pesq is not installed.
        UsageError: the rate is another one.
    """
    if rate not in _BANDS:
        raise UsageError(f"PESQ is defined at {' and '.join(map(str, _BANDS))} Hz, not at {rate} Hz")
    package = _package("pesq")
    _check(reference, estimate)
    if not estimate.any():
        return _LEAST_PESQ
    try:
        return float(package.pesq(rate, reference, estimate, _BANDS[rate]))
    except package.NoUtterancesError:
        raise DataError("PESQ finds no speech in the reference") from None
    except package.BufferTooShortError:
        raise DataError(f"PESQ needs a quarter of a second, found {len(reference) / rate:.3f} s") from None


@MEASURES.add(STOI.name)
def stoi(reference: Signal, estimate: Signal, rate: Hertz) -> float:
    """The short-time objective intelligibility.

    Raises:
        DataError: it is not defined for these signals; says why.
        MissingDependencyError: the package pystoi is not installed.
    """
    package = _package("pystoi")
    _check(reference, estimate)
    with warnings.catch_warnings():
        # Too few frames are an error here.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = float(package.stoi(reference, estimate, rate))
    if found == _NO_STOI:
        raise DataError("STOI needs 0.4 seconds of speech in the reference, found less")
    return found


@MEASURES.add(SI_SDR.name)
def si_sdr(reference: Signal, estimate: Signal, rate: Hertz = 0) -> float:
    """The scale-invariant ratio of signal to distortion, in dB; both without their means.

    J. Le Roux et al., "SDR - Half-baked or Well Done?", ICASSP 2019. From ``-MOST_SI_SDR`` to ``MOST_SI_SDR``.

    Raises:
        DataError: it is not defined for these signals; says why.

    Example:
        >>> si_sdr(np.array([1.0, -1, 1, -1]), np.array([3.0, -1, 1, -3]))
        6.020599913279624
    """
    _check(reference, estimate)
    target, given = (x.astype(np.float64) - x.mean(dtype=np.float64) for x in (reference, estimate))
    energy = float(target @ target)
    if not energy:
        raise DataError("SI-SDR needs a reference that is not constant")
    target = target * float(target @ given) / energy
    signal, distortion = float(target @ target), float(np.sum((given - target) ** 2))
    if not signal or not distortion:
        return MOST_SI_SDR if signal else -MOST_SI_SDR
    return float(np.clip(10 * math.log10(signal / distortion), -MOST_SI_SDR, MOST_SI_SDR))


def speech_score(
    metric: Metric, signals: Iterable[tuple[str, Signal, Signal]], rate: Hertz, units_are: str = "utterances"
) -> Score:
    """The score of a set, with a value for each utterance.

    Args:
        metric: of ``MEASURES``.
        signals: name, reference and estimate of each.
        rate: of all.
        units_are: what they are.

    Raises:
        DataError: the measure is not defined for one of them, which is named; or there are none.
        MissingDependencyError: a package that it needs is not installed.
        UsageError: there is no such measure, or not at this rate.
    """
    measure = MEASURES[metric.name]
    values = {}
    for name, reference, estimate in signals:
        try:
            values[name] = measure(reference, estimate, rate)
        except DataError as error:
            raise DataError(f"{shown_name(name)}: {error}") from error
    return Score(metric, values, units_are=units_are)


def _check(reference: Signal, estimate: Signal) -> None:
    if reference.ndim != 1 or reference.shape != estimate.shape or not reference.size:
        raise DataError(
            f"expected two signals of one channel, as long as each other; found {reference.shape} and {estimate.shape}"
        )
    if not (np.isfinite(reference).all() and np.isfinite(estimate).all()):
        raise DataError("a signal holds values that are not finite (NaN or infinity)")
    if not reference.any():
        raise DataError("the reference is silent")


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"the score {name.removeprefix('py').upper()} needs the package {name}: pip install {name}"
        ) from error
