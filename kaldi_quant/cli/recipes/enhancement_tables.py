"""Tables and plots of enhanced speech: scores of cells, by noise and ratio, and over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kaldi_quant.frontends.enhancement.scores.cell_files import NOISY, read_cell_scores, score_folder
from kaldi_quant.frontends.enhancement.scores.conditions import ConditionMeans, Conditions, by_condition
from kaldi_quant.frontends.enhancement.scores.layout import Experiment, common_cells, has_score
from kaldi_quant.frontends.enhancement.scores.measured import METRICS
from kaldi_quant.report.cells import EMPTY, Table
from kaldi_quant.report.comparison import Comparison, ComparisonOptions, compare
from kaldi_quant.report.pages.lines import Lines
from kaldi_quant.report.trainings import compare_trainings
from kaldi_quant.report.versus import LEVEL

#: Of these there are tables by condition, and of the first and the last plots.
BY_CONDITION = tuple(metric for metric in METRICS if metric.name in ("PESQ", "STOI", "SI-SDR"))
ABOUT_SCORES = "In brackets the difference to the first; * is significant by paired bootstrap (p below 0.05)."
ABOUT_CONDITIONS = (
    "Means over the recordings of a condition; n is how many there are. The last row is the mean over all."
)
ABOUT_SEEDS = (
    "Means over seeds, behind ± their deviation; in brackets the mean difference to the first cell of the same "
    "seed, with its deviation. * is significant (p below 0.05) by a bootstrap that draws recordings and seeds."
)


def folders_of(experiment: Experiment, network: str) -> dict[str, Path]:
    """What is compared by name: the network's cells, and noisy speech."""
    found = {cell.name: cell for cell in experiment.networks[network]}
    return found | ({NOISY: experiment.noisy} if experiment.noisy is not None else {})


def comparison_of(folders: Mapping[str, Path], metric: str, options: ComparisonOptions) -> Comparison[Any]:
    """All folders, the first against the others, by one score.

    Raises:
        DataError: they have not the same recordings, or were not measured by the same program.
    """
    return compare([f"{name}={score_folder(path, metric)}" for name, path in folders.items()], options)


def score_table(folders: Mapping[str, Path], options: ComparisonOptions) -> Table:
    """All scores of all folders, as far as all have them."""
    metrics = [metric for metric in METRICS if all(has_score(path, metric.name) for path in folders.values())]
    columns = []
    for metric in metrics:
        rows = comparison_of(folders, metric.name, options).rows
        columns.append([metric.number(row.value) + _difference(row, metric) for row in rows])
    body = [[name, *(column[place] for column in columns)] for place, name in enumerate(folders)]
    return Table(["cell", *(metric.column for metric in metrics)], body)


def _difference(row: Any, metric: Any) -> str:
    if row.versus is None:
        return ""
    return f" ({metric.number(row.versus.paired.difference, '+')}{'*' if row.versus.significant else ''})"


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


def seed_table(experiments: list[Experiment], network: str, options: ComparisonOptions) -> Table:
    """A network's cells over seeds: mean, deviation, difference to the first cell, of each score that all have."""
    names = common_cells(experiments, network)
    cells = {name: [each.folder / network / name for each in experiments] for name in names}
    metrics = [
        metric for metric in METRICS if all(has_score(path, metric.name) for those in cells.values() for path in those)
    ]
    columns = []
    for metric in metrics:
        arguments = [
            f"{name}={','.join(str(score_folder(path, metric.name)) for path in those)}"
            for name, those in cells.items()
        ]
        rows = compare_trainings(arguments, options, paired=True).rows
        columns.append([_over_seeds(row, rows[0], metric) for row in rows])
    body = [[name, str(len(experiments)), *(column[place] for column in columns)] for place, name in enumerate(names)]
    return Table(["cell", "seeds", *(metric.column for metric in metrics)], body)


def _over_seeds(row: Any, first: Any, metric: Any) -> str:
    """``1.496 ± 0.010 (-0.080* ± 0.025)``."""
    text = _with_deviation(metric.number(row.mean), row.values, metric)
    if row.versus is None:
        return text
    differences = [value - reference for value, reference in zip(row.values, first.values, strict=True)]
    mark = "*" if row.versus.p_value < LEVEL else ""
    return f"{text} ({_with_deviation(metric.number(row.versus.difference, '+') + mark, differences, metric)})"


def _with_deviation(text: str, values: Sequence[float], metric: Any) -> str:
    return text if len(values) < 2 else f"{text} ± {metric.number(statistics.stdev(values))}"
