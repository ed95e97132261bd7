"""Tables of the cells of any recipe: all scores, over seeds, and what methods lose against the float network."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kaldi_quant.frontends.cell_scores import CellScores
from kaldi_quant.frontends.experiments import Experiment, common_cells
from kaldi_quant.report.cells import EMPTY, Table
from kaldi_quant.report.comparison import Comparison, ComparisonOptions, compare
from kaldi_quant.report.numbers import interval
from kaldi_quant.report.significance.bootstrap import Interval, PairedDifference
from kaldi_quant.report.trainings import compare_trainings
from kaldi_quant.report.versus import LEVEL

ABOUT_SCORES = "In brackets the difference to the first; * is significant by paired bootstrap (p below 0.05)."
ABOUT_SEEDS = (
    "Means over seeds, behind ± their deviation; in brackets the mean difference to the first cell of the same "
    "seed, with its deviation. * is significant (p below 0.05) by a bootstrap that draws recordings and seeds."
)


def about_losses(metric: Any, seeds: int, base: str) -> str:
    """What a table of losses shows."""
    drawn = "recordings" if seeds == 1 else f"recordings and {seeds} seeds"
    return (
        f"{metric.name} that is lost against the float network, as a share of what {base} loses, and what is gained on "
        f"{base}; 95 % intervals by a bootstrap that draws {drawn}. There is no share where {base} does not lose "
        "significantly."
    )


def folders_of(experiment: Experiment, network: str) -> dict[str, Path]:
    """A network's cells by name."""
    return {cell.name: cell for cell in experiment.networks[network]}


def comparison_of(
    folders: Mapping[str, Path], metric: str, scores: CellScores, options: ComparisonOptions
) -> Comparison[Any]:
    """All folders, the first against the others, by one score.

    Raises:
        DataError: they have not the same recordings, or were not measured by the same program.
    """
    return compare([f"{name}={scores.folder(path, metric)}" for name, path in folders.items()], options)


def score_table(folders: Mapping[str, Path], scores: CellScores, options: ComparisonOptions) -> Table:
    """All scores of all folders, as far as all have them."""
    metrics = [metric for metric in scores.metrics if all(scores.has(path, metric.name) for path in folders.values())]
    columns = []
    for metric in metrics:
        rows = comparison_of(folders, metric.name, scores, options).rows
        columns.append([metric.number(row.value) + _difference(row, metric) for row in rows])
    body = [[name, *(column[place] for column in columns)] for place, name in enumerate(folders)]
    return Table(["cell", *(metric.column for metric in metrics)], body)


def _difference(row: Any, metric: Any) -> str:
    if row.versus is None:
        return ""
    return f" ({metric.number(row.versus.paired.difference, '+')}{'*' if row.versus.significant else ''})"


def seed_table(
    experiments: Sequence[Experiment], network: str, scores: CellScores, options: ComparisonOptions
) -> Table:
    """A network's cells over seeds: mean, deviation, difference to the first cell, of each score that all have."""
    cells = _cells(experiments, network)
    metrics = [
        metric
        for metric in scores.metrics
        if all(scores.has(path, metric.name) for those in cells.values() for path in those)
    ]
    columns = []
    for metric in metrics:
        rows = compare_trainings(_arguments(cells, scores, metric), options, paired=True).rows
        columns.append([_over_seeds(row, rows[0], metric) for row in rows])
    body = [[name, str(len(experiments)), *(column[place] for column in columns)] for place, name in enumerate(cells)]
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


def loss_table(
    experiments: Sequence[Experiment], network: str, scores: CellScores, options: ComparisonOptions, base: str
) -> Table | None:
    """What each cell loses against the first, by the metric that counts first, and beside what one of them loses.

    Args:
        experiments: of the seeds that have the network.
        network: its name.
        scores: of its cells.
        options: of the bootstrap.
        base: the cell that others are seen beside.

    Returns:
        None where there is no cell of that name, or it is the first.
    """
    cells, metric = _cells(experiments, network), scores.first
    first = next(iter(cells), base)
    if base not in cells or base == first:
        return None
    lost = _differences(cells, scores, metric, options)
    gained = _differences({base: cells[base], **cells}, scores, metric, options)
    of_base = metric.loss(lost[base].difference)
    has_share = of_base > 0 and lost[base].p_value < LEVEL
    body = []
    for name, found in lost.items():
        loss = metric.loss(found.difference)
        row = [name, metric.number(loss, "+"), interval(_lost(metric, found.interval), metric, "+")]
        row.append(f"{100 * loss / of_base:.0f} %" if has_share else EMPTY)
        if name == base:
            body.append([*row, EMPTY, EMPTY])
        else:
            beside = gained[name]
            gain = metric.number(-metric.loss(beside.difference), "+")
            body.append([*row, gain, interval(_gained(metric, beside.interval), metric, "+")])
    unit = metric.unit_of_differences
    heads = ["cell", f"loses, {unit}", "95 % interval", f"share of {base}", f"gains on {base}", "its 95 % interval"]
    return Table(heads, body)


def _lost(metric: Any, values: Interval) -> Interval:
    low, high = sorted(map(metric.loss, (values.low, values.high)))
    return Interval(low, high)


def _gained(metric: Any, values: Interval) -> Interval:
    lost = _lost(metric, values)
    return Interval(-lost.high, -lost.low)


def _cells(experiments: Sequence[Experiment], network: str) -> dict[str, list[Path]]:
    """The folders of each cell that all have, one for each seed."""
    names = common_cells(experiments, network)
    return {name: [each.folder / network / name for each in experiments] for name in names}


def _arguments(cells: Mapping[str, Sequence[Path]], scores: CellScores, metric: Any) -> list[str]:
    return [
        f"{name}={','.join(str(scores.folder(path, metric.name)) for path in those)}" for name, those in cells.items()
    ]


def _differences(
    cells: Mapping[str, Sequence[Path]], scores: CellScores, metric: Any, options: ComparisonOptions
) -> dict[str, PairedDifference]:
    """Of each cell to the first."""
    rows = compare_trainings(_arguments(cells, scores, metric), options, paired=True).rows
    return {row.name: row.versus for row in rows if row.versus is not None}
