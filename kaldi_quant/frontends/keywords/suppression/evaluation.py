"""What a suppressor is worth on noisy speech: quality and intelligibility, and how far it is from the float one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kaldi_quant.frontends.keywords.suppression.enhancement import Suppressor
from kaldi_quant.frontends.keywords.suppression.noisy_speech import NoisySpeech
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.metrics.known import PESQ, SI_SDR, STOI
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.metrics.score import Score
from kaldi_quant.metrics.speech import speech_score
from kaldi_quant.units import Hertz

#: Of what is enhanced beside speech without noise.
METRICS = (PESQ, STOI, SI_SDR)
#: SI-SDR of what is enhanced beside what the float network makes of the same.
SI_SDR_OF_FLOAT = replace(SI_SDR, name="SI-SDR-of-float", title="SI-SDR beside the float network's output")


@dataclass(frozen=True)
class SuppressionScores:
    """The scores of a suppressor.

    Args:
        of_clean: by the name of each of ``METRICS``, beside speech without noise.
        of_float: SI-SDR beside the float network's output; None for the float network.
    """

    of_clean: Mapping[str, Score]
    of_float: Score | None

    def values(self) -> dict[str, float]:
        """All of them by name."""
        scores = [*self.of_clean.values(), *([] if self.of_float is None else [self.of_float])]
        return {score.metric.name: score.value for score in scores}


def enhanced(suppressor: Suppressor, utterances: Sequence[NoisySpeech]) -> dict[str, Array]:
    """What it makes of utterances, by name."""
    return {utterance.name: suppressor.enhance(utterance.noisy) for utterance in utterances}


def suppression_scores(
    utterances: Sequence[NoisySpeech],
    found: Mapping[str, Array],
    rate: Hertz,
    of_float: Mapping[str, Array] | None = None,
    metrics: Sequence[Metric] = METRICS,
) -> SuppressionScores:
    """The scores of what was made of utterances.

    Args:
        utterances: the test set.
        found: what was made of each, by name.
        rate: of all.
        of_float: what the float network made of each.
        metrics: beside speech without noise.

    Raises:
        DataError: a score is not defined for an utterance.
        MissingDependencyError: a package that a score needs is not installed.
    """
    signals = [(utterance.name, utterance.clean, found[utterance.name]) for utterance in utterances]
    of_clean = {metric.name: speech_score(metric, signals, rate) for metric in metrics}
    if of_float is None:
        return SuppressionScores(of_clean, None)
    beside = [(name, of_float[name], estimate) for name, _, estimate in signals]
    score = speech_score(SI_SDR, beside, rate)
    return SuppressionScores(of_clean, replace(score, metric=SI_SDR_OF_FLOAT))
