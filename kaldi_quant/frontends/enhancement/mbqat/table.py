"""The table that MBQAT's programs print: for each metric a column for each noise and ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kaldi_quant.frontends.enhancement.scores.conditions import by_condition, conditions_of
from kaldi_quant.frontends.enhancement.scores.measured import ScoredPair, enhancement_scores, noisy_scores
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.metrics.known import PESQ, SNR, STOI
from kaldi_quant.units import Hertz

#: In the order in which they are printed.
PRINTED = (SNR, STOI, PESQ)
NOISY_ROW, ENHANCED_ROW, TORCH_ROW = "MIX", "TIME", "TORCH"
_DIGITS = 4


def printed_scores(pairs: Sequence[ScoredPair], made: Mapping[str, Mapping[str, Array]], rate: Hertz) -> str:
    """The table of a test set, with tabs between columns; its first row of each metric is the noisy speech, ``MIX``.

    Args:
        pairs: the test set.
        made: the other rows by name: (S,) of each recording by its name.
        rate: of all.

    Raises:
        DataError: a recording is broken, or was not enhanced.
    """
    rows = {NOISY_ROW: noisy_scores(pairs, rate, PRINTED)}
    rows |= {row: enhancement_scores(pairs, enhanced, rate, PRINTED) for row, enhanced in made.items()}
    conditions = conditions_of(pairs)
    lines = []
    for metric in PRINTED:
        means = {row: by_condition(scores[metric.name], conditions) for row, scores in rows.items()}
        every: list[tuple[str | None, float | None]] = [
            (noise, snr) for noise in means[NOISY_ROW].noises for snr in means[NOISY_ROW].snrs
        ]
        places = [place for place in every if place in means[NOISY_ROW].cells] or [(None, None)]
        lines.append("\t".join([metric.name, *(_column(*place) for place in places)]))
        for row, found in means.items():
            lines.append("\t".join([row, *(f"{found.cells[place].value:.{_DIGITS}f}" for place in places)]))
    return "\n".join(lines)


def _column(noise: str | None, snr: float | None) -> str:
    """``(babble_snr-5)``; all recordings together where neither is known."""
    return "(all)" if noise is None or snr is None else f"({noise}_snr{snr:g})"
