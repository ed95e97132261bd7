"""Scores of a test set of noisy speech, with a value for each recording whatever it holds."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.metrics.known import MSE, PESQ, PESQ_NB, SI_SDR, SNR, STOI
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.metrics.score import Score, shown_name
from kaldi_quant.metrics.speech import LEAST_PESQ, MEASURES, made_by
from kaldi_quant.units import Hertz

_log = logging.getLogger(__name__)
#: All of them, the first in the cell's own folder.
METRICS = (PESQ, PESQ_NB, STOI, SI_SDR, SNR, MSE)
#: The value of a recording for which a score is not defined, because its reference is silent or too short, whatever was
#: made of it: so it moves no difference between systems. Ratios are those of as much noise as speech.
UNDEFINED: Mapping[str, float] = {
    PESQ.name: LEAST_PESQ,
    PESQ_NB.name: LEAST_PESQ,
    STOI.name: 0.0,
    SI_SDR.name: 0.0,
    SNR.name: 0.0,
}
# More names than these do not fit into a sentence.
_MOST_NAMES = 3


class ScoredPair(Protocol):
    """A recording of a test set; ``Pair`` of the data is one.

    Attributes:
        name: its own.
        noisy: (S,) float32.
        clean: (S,) float32, what it should be.
        noise: the kind; empty where it is not known.
        snr: of speech to noise, in dB; None where it is not known.
    """

    @property
    def name(self) -> str: ...
    @property
    def noisy(self) -> Array: ...
    @property
    def clean(self) -> Array: ...
    @property
    def noise(self) -> str: ...
    @property
    def snr(self) -> float | None: ...


def enhancement_scores(
    pairs: Iterable[ScoredPair], enhanced: Mapping[str, Array], rate: Hertz, metrics: Sequence[Metric] = METRICS
) -> dict[str, Score]:
    """The scores of what was made of noisy recordings, by the names of metrics.

    Silence and recordings that are too short have the values of ``UNDEFINED`` and are told in a warning; a silent
    result has the lowest values of PESQ, STOI and SI-SDR, and an SNR of 0 dB. PESQ is wide band at 16 kHz.

    Args:
        pairs: the test set, read once.
        enhanced: (S,) by name, of each.
        rate: of all.
        metrics: which.

    Raises:
        DataError: a recording was not enhanced, or into another length, or holds values that are not finite; names it.
        MissingDependencyError: a package that a score needs is not installed.
        UsageError: PESQ is wanted at another rate than 8 or 16 kHz; or a metric is unknown.
    """
    measures = {metric.name: MEASURES[metric.name] for metric in metrics}
    values: dict[str, dict[str, float]] = {name: {} for name in measures}
    lacking: dict[str, list[str]] = {name: [] for name in measures}
    for pair in pairs:
        found = _checked(pair, enhanced)
        for name, measure in measures.items():
            try:
                values[name][pair.name] = measure(pair.clean, found, rate)
            except DataError as error:
                if name not in UNDEFINED:
                    raise DataError(f"{shown_name(pair.name)}: {error}") from error
                values[name][pair.name] = UNDEFINED[name]
                lacking[name].append(pair.name)
    for name, names in lacking.items():
        if names:
            shown = ", ".join(map(shown_name, names[:_MOST_NAMES])) + (" …" if len(names) > _MOST_NAMES else "")
            _log.warning("%s is not defined for %d (%s): they count as %g", name, len(names), shown, UNDEFINED[name])
    return {
        metric.name: Score(metric, values[metric.name], units_are="recordings", made_by=made_by(metric))
        for metric in metrics
    }


def noisy_scores(pairs: Sequence[ScoredPair], rate: Hertz, metrics: Sequence[Metric] = METRICS) -> dict[str, Score]:
    """The scores of the noisy recordings themselves; arguments as above, but pairs are read twice."""
    return enhancement_scores(pairs, {pair.name: pair.noisy for pair in pairs}, rate, metrics)


def _checked(pair: ScoredPair, enhanced: Mapping[str, Array]) -> Array:
    name = shown_name(pair.name)
    if pair.name not in enhanced:
        raise DataError(f"{name} was not enhanced")
    found = enhanced[pair.name]
    if found.shape != pair.clean.shape or found.ndim != 1 or not found.size:
        raise DataError(f"{name}: expected {pair.clean.shape} enhanced samples of one channel, found {found.shape}")
    for what, wave in (("the clean speech", pair.clean), ("what was made of it", found)):
        if not _is_finite(wave):
            raise DataError(f"{name}: {what} holds values that are not finite (NaN or infinity)")
    return found


def _is_finite(wave: Array) -> bool:
    # A sum of finite float32 is finite in float64.
    return bool(abs(wave.sum(dtype="float64")) < float("inf"))
