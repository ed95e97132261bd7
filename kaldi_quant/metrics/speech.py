"""How good speech is that was made of noisy speech, beside what it should have been: PESQ, STOI, SI-SDR, SNR and MSE.

Signals are (samples,), of one rate, as long as each other. All but MSE need a reference that is not silent. A silent
estimate has the lowest value of the scales of PESQ, STOI and SI-SDR; its SNR is 0 dB.

PESQ is computed by the package pesq, the C program of ITU-T, where it is installed, and by ``metrics.pesq`` elsewhere.
Scores say which: those of one are not compared with those of the other.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Any

import numpy as np

from kaldi_quant.errors import DataError, MissingDependencyError, UsageError
from kaldi_quant.metrics.known import MSE, PESQ, PESQ_NB, SI_SDR, SNR, STOI
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.metrics.pesq import measure as own_pesq
from kaldi_quant.metrics.pesq.levels import Band
from kaldi_quant.metrics.score import Score, shown_name
from kaldi_quant.registry import Registry
from kaldi_quant.units import Hertz

#: (samples,) of floats.
Signal = np.ndarray[Any, np.dtype[Any]]
#: The value for a reference, an estimate and their rate.
Measure = Callable[[Signal, Signal, Hertz], float]

#: SI-SDR and SNR are from minus this to this: equal signals have no finite one, nor has silence.
MOST_SI_SDR = 100.0
#: What made a PESQ that was computed here.
OWN_PESQ = "kaldi_quant"

#: The lower end of the curves of P.862.1 and P.862.2.
LEAST_PESQ = 0.999
# What each rate is measured with, by P.862.2 and P.862.1.
_BANDS: dict[Hertz, Band] = {16000: "wb", 8000: "nb"}
# pystoi's value where too few frames hold speech; it fails with recordings that are much too short.
_NO_STOI = 1e-5
_SHORT_FOR_STOI = 0.39

#: By the names of metrics.
MEASURES: Registry[Measure] = Registry("measure of speech")


@MEASURES.add(PESQ.name)
def pesq(reference: Signal, estimate: Signal, rate: Hertz) -> float:
    """ITU-T P.862: wide band at 16 kHz (P.862.2), narrow band at 8 kHz (P.862.1).

    Raises:
        DataError: it is not defined for these signals; says why.
        UsageError: the rate is another one.
    """
    return _pesq(reference, estimate, rate, _BANDS.get(rate, "nb"))


@MEASURES.add(PESQ_NB.name)
def narrow_pesq(reference: Signal, estimate: Signal, rate: Hertz) -> float:
    """Narrow band at either rate; the rest is as of ``pesq``."""
    return _pesq(reference, estimate, rate, "nb")


def _pesq(reference: Signal, estimate: Signal, rate: Hertz, band: Band) -> float:
    if rate not in _BANDS:
        raise UsageError(f"PESQ is defined at {' and '.join(map(str, _BANDS))} Hz, not at {rate} Hz")
    _check(reference, estimate)
    if not estimate.any():
        return LEAST_PESQ
    # The same for both, which differ in what they call speech.
    own_pesq.check_reference(reference, rate)
    package = _pesq_package()
    if package is None:
        return own_pesq.pesq(reference, estimate, rate, band)
    try:
        return float(package.pesq(rate, reference, estimate, band))
    except package.NoUtterancesError:
        raise DataError("PESQ finds no speech in the reference") from None


def made_by(metric: Metric) -> str:
    """Which implementation computes a metric, where there is more than one; empty for the others.

    Example:
        >>> made_by(SI_SDR)
        ''
    """
    if metric.name not in (PESQ.name, PESQ_NB.name):
        return ""
    return OWN_PESQ if _pesq_package() is None else f"pesq {metadata.version('pesq')}"


@MEASURES.add(STOI.name)
def stoi(reference: Signal, estimate: Signal, rate: Hertz) -> float:
    """The short-time objective intelligibility.

    Raises:
        DataError: it is not defined for these signals; says why.
        MissingDependencyError: the package pystoi is not installed.
    """
    package = _package("pystoi")
    _check(reference, estimate)
    found = _NO_STOI
    if len(reference) >= _SHORT_FOR_STOI * rate:
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
    return decibels(float(target @ target), float(np.sum((given - target) ** 2)))


@MEASURES.add(SNR.name)
def snr(reference: Signal, estimate: Signal, rate: Hertz = 0) -> float:
    """The ratio of the reference to what differs from it, in dB, from ``-MOST_SI_SDR`` to ``MOST_SI_SDR``.

    Raises:
        DataError: it is not defined for these signals; says why.

    Example:
        >>> snr(np.array([1.0, -1, 1, -1]), np.array([1.1, -1, 1, -0.9]))
        23.01029995663981
    """
    _check(reference, estimate)
    target = reference.astype(np.float64)
    return decibels(float(target @ target), float(np.square(estimate - target).sum()))


@MEASURES.add(MSE.name)
def mse(reference: Signal, estimate: Signal, rate: Hertz = 0) -> float:
    """The mean squared difference of samples, also where the reference is silent.

    Raises:
        DataError: signals are not as long as each other, or not finite.
    """
    _check(reference, estimate, silence=True)
    return float(np.square(estimate - reference.astype(np.float64)).mean())


def decibels(signal: float, rest: float) -> float:
    """The ratio of two energies in dB: from ``-MOST_SI_SDR``, for no signal, to ``MOST_SI_SDR``, for no rest."""
    if not signal or not rest:
        return MOST_SI_SDR if signal else -MOST_SI_SDR
    return float(np.clip(10 * math.log10(signal / rest), -MOST_SI_SDR, MOST_SI_SDR))


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
    return Score(metric, values, units_are=units_are, made_by=made_by(metric))


def _check(reference: Signal, estimate: Signal, silence: bool = False) -> None:
    if reference.ndim != 1 or reference.shape != estimate.shape or not reference.size:
        raise DataError(
            f"expected two signals of one channel, as long as each other; found {reference.shape} and {estimate.shape}"
        )
    if not (np.isfinite(reference).all() and np.isfinite(estimate).all()):
        raise DataError("a signal holds values that are not finite (NaN or infinity)")
    if not silence and not reference.any():
        raise DataError("the reference is silent")


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"the score {name.removeprefix('py').upper()} needs the package {name}: pip install {name}"
        ) from error


def _pesq_package() -> Any:
    """The package pesq; None where it is not installed."""
    try:
        return importlib.import_module("pesq")
    except ImportError:
        return None
