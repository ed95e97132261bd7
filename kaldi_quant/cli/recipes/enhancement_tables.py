"""Tables and plots of enhanced speech by the kind of noise and the ratio of speech to noise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaldi_quant.frontends.enhancement.scores.cell_files import read_cell_scores
from kaldi_quant.frontends.enhancement.scores.conditions import ConditionMeans, Conditions, by_condition
from kaldi_quant.frontends.enhancement.scores.measured import METRICS
from kaldi_quant.report.cells import EMPTY, Table
from kaldi_quant.report.pages.lines import Lines

#: Of these there are tables by condition, and of the first and the last plots.
BY_CONDITION = tuple(metric for metric in METRICS if metric.name in ("PESQ", "STOI", "SI-SDR"))
ABOUT_CONDITIONS = (
    "Means over the recordings of a condition; n is how many there are. The last row is the mean over all."
)


def condition_means(folders: Mapping[str, Path], conditions: Conditions, metric: str) -> dict[str, ConditionMeans]:
    """A score of all folders by condition.

    Raises:
        DataError: a recording has no condition.
    """
    return {name: by_condition(read_cell_scores(path)[metric], conditions) for name, path in folders.items()}


def condition_table(means: Mapping[str, ConditionMeans], metric: Any) -> Table:
    """Rows of noises and ratios, with a column for each folder."""
    first = next(iter(means.values()))
    body = []
    for noise in (*first.noises, None):
        for snr in (*first.snrs, None):
            found = [each.cells.get((noise, snr)) for each in means.values()]
            if found[0] is None or (noise is not None and snr is None and not first.snrs):
                continue
            kind = "all" if noise is None else noise or "-"
            ratio = "all" if snr is None else f"{snr:g}"
            body.append(
                [kind, ratio, str(found[0].number), *(metric.number(each.value) if each else EMPTY for each in found)]
            )
    return Table(["noise", "SNR, dB", "n", *means], body)


def condition_lines(means: Mapping[str, ConditionMeans], metric: Any) -> Lines | None:
    """A score by ratio, over all noises; None where no ratios are known."""
    series = {
        name: [(snr, each.cells[None, snr].value) for snr in each.snrs if (None, snr) in each.cells]
        for name, each in means.items()
    }
    if not any(len(points) > 1 for points in series.values()):
        return None
    caption = f"Means over all kinds of noise; {metric.better} is better."
    return Lines(
        f"{metric.name} by ratio", caption, "signal-to-noise ratio of the noisy speech, dB", metric.axis, series
    )
