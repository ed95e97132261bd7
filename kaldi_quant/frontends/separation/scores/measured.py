"""Scores of a test set of mixtures, with a value for each recording whatever it holds."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.separation.networks.known import Kind
from kaldi_quant.frontends.separation.scores.measures import MEASURES, Separated, metrics_of, ordered
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.metrics.known import PESQ
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.metrics.score import Score, shown_name
from kaldi_quant.metrics.speech import LEAST_PESQ, made_by

_log = logging.getLogger(__name__)
# More names than these do not fit into a sentence.
_MOST_NAMES = 3


class ScoredMixture(Protocol):
    """A recording of a test set; ``Mixture`` of the data is one.

    Attributes:
        name: its own.
        mixture: (C, T) float32.
        sources: (S, C, T) float32.
    """

    @property
    def name(self) -> str: ...
    @property
    def mixture(self) -> Array: ...
    @property
    def sources(self) -> Array: ...


@dataclass(frozen=True)
class SourceValues:
    """A metric's values of each source of each recording.

    Args:
        metric: what was measured.
        values: recording → (S,), NaN where it is not defined.
    """

    metric: Metric
    values: Mapping[str, Array]

    def score(self, units_are: str) -> Score:
        """The mean over the sources of a recording for which it is defined.

        Recordings of which that is none have the value of ``undefined`` and are told in a warning.
        """
        found, lacking = {}, []
        for name, values in self.values.items():
            is_defined = bool(np.isfinite(values).any())
            found[name] = float(np.nanmean(values)) if is_defined else undefined(self.metric)
            if not is_defined:
                lacking.append(name)
        if lacking:
            shown = ", ".join(map(shown_name, lacking[:_MOST_NAMES])) + (" …" if len(lacking) > _MOST_NAMES else "")
            _log.warning(
                "%s is not defined for %d (%s): they count as %g",
                self.metric.name,
                len(lacking),
                shown,
                undefined(self.metric),
            )
        return Score(self.metric, found, units_are=units_are, made_by=made_by(self.metric))

    def medians(self, kind: Kind) -> dict[str, float]:
        """The median over recordings of each source, as tables of music have it; 0 for one that is never defined."""
        all_values = np.stack(list(self.values.values()), axis=1)
        found = {}
        for name, values in zip(kind.sources, all_values, strict=True):
            defined = values[np.isfinite(values)]
            found[name] = float(np.median(defined)) if defined.size else undefined(self.metric)
        return found


def undefined(metric: Metric) -> float:
    """The value of a recording that has none, because its sources are silent or too short, whatever was made of it."""
    return LEAST_PESQ if metric.name == PESQ.name else 0.0


def source_values(
    mixtures: Iterable[ScoredMixture],
    estimates: Mapping[str, Array],
    kind: Kind,
    metrics: Sequence[Metric] | None = None,
) -> dict[str, SourceValues]:
    """The values of all sources of what was separated, by the names of metrics.

    Outputs without order are put in the order of highest mean SI-SDR, one for all scores of a recording.

    Args:
        mixtures: the test set, read once.
        estimates: (S, C, T) by name, of each.
        kind: of the network.
        metrics: of ``MEASURES``; by default those of the kind.

    Raises:
        DataError: there are no recordings; or one was not separated, or into other shapes, or holds values that are
            not finite; names it.
        MissingDependencyError: a package that a score needs is not installed.
        UsageError: there is no such metric.
    """
    metrics = metrics_of(kind) if metrics is None else metrics
    measures = {metric.name: MEASURES[metric.name] for metric in metrics}
    values: dict[str, dict[str, Array]] = {name: {} for name in measures}
    for mixture in mixtures:
        found = _checked(mixture, estimates, kind)
        for name, measure in measures.items():
            values[name][mixture.name] = measure(found)
    if not all(values.values()):
        raise DataError("there are no mixtures to be scored")
    return {metric.name: SourceValues(metric, values[metric.name]) for metric in metrics}


def separation_scores(
    mixtures: Iterable[ScoredMixture],
    estimates: Mapping[str, Array],
    kind: Kind,
    metrics: Sequence[Metric] | None = None,
) -> dict[str, Score]:
    """The scores of what was separated, each with a value for each recording: the mean over its sources.

    Arguments and errors are those of ``source_values``.
    """
    found = source_values(mixtures, estimates, kind, metrics)
    return {name: each.score("tracks" if kind.is_ordered else "recordings") for name, each in found.items()}


def mixture_scores(
    mixtures: Sequence[ScoredMixture], kind: Kind, metrics: Sequence[Metric] | None = None
) -> dict[str, Score]:
    """The scores of the mixtures themselves, in the place of each source; mixtures are read twice."""
    estimates = {each.name: np.broadcast_to(each.mixture, each.sources.shape) for each in mixtures}
    return separation_scores(mixtures, estimates, kind, metrics)


def _checked(mixture: ScoredMixture, estimates: Mapping[str, Array], kind: Kind) -> Separated:
    name, sources = shown_name(mixture.name), mixture.sources
    if mixture.name not in estimates:
        raise DataError(f"{name} was not separated")
    found = estimates[mixture.name]
    expected = (len(kind.sources), kind.channels)
    if sources.ndim != 3 or sources.shape[:2] != expected or not sources.size:
        raise DataError(f"{name}: expected {expected[0]} sources of {expected[1]} channels, found {sources.shape}")
    if found.shape != sources.shape or mixture.mixture.shape != sources.shape[1:]:
        raise DataError(
            f"{name}: expected estimates of the shape {sources.shape} and a mixture, found {found.shape} and "
            f"{mixture.mixture.shape}"
        )
    for what, signals in (("the mixture", mixture.mixture), ("a source", sources), ("what was made of it", found)):
        if not np.isfinite(signals).all():
            raise DataError(f"{name}: {what} holds values that are not finite (NaN or infinity)")
    return Separated(mixture.mixture, sources, ordered(kind, sources, found), kind.rate)
