"""The measures of one recording: a value for each source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.separation.networks.known import Kind
from kaldi_quant.frontends.separation.order import best_order
from kaldi_quant.frontends.separation.scores import bss_eval
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.metrics import speech
from kaldi_quant.metrics.known import NSDR, PESQ, SDR, SDR_V4, SI_SDR, SI_SDR_IMPROVEMENT, STOI
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.registry import Registry
from kaldi_quant.units import Hertz

# PESQ is defined at these.
_TELEPHONE: tuple[Hertz, ...] = (8000, 16000)


@dataclass(frozen=True)
class Separated:
    """A recording with what was made of it.

    Args:
        mixture: (C, T).
        sources: (S, C, T).
        estimates: (S, C, T), in the order of the sources.
        rate: in Hz.
    """

    mixture: Array
    sources: Array
    estimates: Array
    rate: Hertz


#: (S,) values, NaN for a source for which the measure is not defined.
Measure = Callable[[Separated], Array]
#: By the names of metrics.
MEASURES: Registry[Measure] = Registry("measure of separation")


def metrics_of(kind: Kind) -> tuple[Metric, ...]:
    """The metrics of a kind of networks, the one that counts first: SI-SDR of speech, NSDR of music."""
    if kind.is_ordered:
        return NSDR, SDR_V4, SI_SDR, SI_SDR_IMPROVEMENT
    return SI_SDR, SI_SDR_IMPROVEMENT, SDR, STOI, *([PESQ] if kind.rate in _TELEPHONE else [])


def ordered(kind: Kind, sources: Array, estimates: Array) -> Array:
    """Estimates (S, C, T) in the order of sources (S, C, T).

    That is the order of the highest mean SI-SDR for a kind without order; else they stay as they are.
    """
    if kind.is_ordered:
        return estimates
    closeness = np.array([[_si_sdr(source, estimate) for source in sources] for estimate in estimates])
    return estimates[best_order(np.nan_to_num(closeness, nan=0.0))]


def _si_sdr(source: Array, estimate: Array) -> float:
    """Of (C, T), each channel without its mean; NaN where it is not defined."""
    flat = [(x - x.mean(axis=1, keepdims=True, dtype=np.float64)).ravel() for x in (source, estimate)]
    return _defined(speech.si_sdr, *flat)


def _defined(measure: Callable[..., float], *arguments: Array | Hertz) -> float:
    try:
        return measure(*arguments)
    except DataError:
        return float("nan")


@MEASURES.add(SI_SDR.name)
def si_sdr(found: Separated) -> Array:
    """The scale-invariant ratio, of several channels as of one signal."""
    return np.array([_si_sdr(*pair) for pair in zip(found.sources, found.estimates, strict=True)])


@MEASURES.add(SI_SDR_IMPROVEMENT.name)
def si_sdr_improvement(found: Separated) -> Array:
    """What it is more than that of the mixture."""
    return si_sdr(found) - np.array([_si_sdr(source, found.mixture) for source in found.sources])


@MEASURES.add(NSDR.name)
def nsdr(found: Separated) -> Array:
    """Of all channels and samples together."""
    pairs = zip(found.sources, found.estimates, strict=True)
    return np.array([_defined(speech.snr, source.ravel(), estimate.ravel()) for source, estimate in pairs])


@MEASURES.add(SDR_V4.name)
def sdr_v4(found: Separated) -> Array:
    """The median over seconds."""
    return bss_eval.sdr_v4(found.sources, found.estimates, found.rate)


def _of_channels(measure: Callable[..., float], found: Separated) -> Array:
    """The mean over channels of a measure of single ones."""
    return np.array(
        [
            np.mean([_defined(measure, *pair, found.rate) for pair in zip(source, estimate, strict=True)])
            for source, estimate in zip(found.sources, found.estimates, strict=True)
        ]
    )


def _sdr(reference: Array, estimate: Array, rate: Hertz) -> float:
    return bss_eval.sdr(reference, estimate)


MEASURES.add(SDR.name)(partial(_of_channels, _sdr))
MEASURES.add(STOI.name)(partial(_of_channels, speech.stoi))
MEASURES.add(PESQ.name)(partial(_of_channels, speech.pesq))
