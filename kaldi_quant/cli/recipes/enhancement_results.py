"""``egs/enhancement``: the results of all cells, as text and as a page on which one can listen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from kaldi_quant.cli.options import KaldiCommand
from kaldi_quant.cli.recipes.cell_results import Task, results_options, write_results

_RECIPE = "egs/enhancement"


@click.command(cls=KaldiCommand)
@results_options(_RECIPE)
def results(**options: Any) -> None:
    """Write the scores of all cells as text and as a page on which one can listen.

    A cell is a folder with cell.json and scores.json (PESQ); further scores are in its folders pesq-nb, stoi, si-sdr,
    snr and mse. FOLDER/noisy has those of noisy speech, and conditions.tsv: the noise and the ratio of each recording.
    What is to be heard is in a cell's est_predictions. With seeds, the first is shown in detail.

    e.g.: results.py --exp-dir exp --recordings 4
    """
    write_results(_task, **options)


def _task() -> Task:
    from kaldi_quant.cli.recipes.cell_sounds import Heard
    from kaldi_quant.frontends.enhancement.scores.cell_files import CELL_SCORES
    from kaldi_quant.frontends.enhancement.scores.predictions import CLEAN, ENHANCED, NOISY, predictions_in

    heard = Heard(
        predictions_in,
        lambda files: [("noisy", files[NOISY]), ("clean", files[CLEAN])],
        lambda files: [("", files[ENHANCED])],
    )
    return Task("Speech enhancement", _RECIPE, lambda _: CELL_SCORES, _noisy, heard, _by_condition)


def _noisy(experiment: Any, network: str) -> dict[str, Path]:
    """The folder of the scores of noisy speech, where they were measured."""
    from kaldi_quant.frontends.enhancement.scores.cell_files import CELL_SCORES, NOISY

    folder = experiment.folder / NOISY
    return {NOISY: folder} if CELL_SCORES.has(folder, CELL_SCORES.first.name) else {}


def _by_condition(experiment: Any, folders: Mapping[str, Path]) -> tuple[list[Any], list[Any]]:
    """Tables and plots by noise and ratio; none where no table says what recordings are."""
    from kaldi_quant.cli.recipes import enhancement_tables as tables
    from kaldi_quant.frontends.enhancement.scores.cell_files import CELL_SCORES, NOISY
    from kaldi_quant.frontends.enhancement.scores.conditions import TABLE, read_conditions
    from kaldi_quant.report.pages.listening_page import TitledTable

    found: list[Any] = []
    lines: list[Any] = []
    if not (experiment.folder / NOISY / TABLE).is_file():
        return found, lines
    conditions = read_conditions(experiment.folder / NOISY)
    for metric in tables.BY_CONDITION:
        if not all(CELL_SCORES.has(path, metric.name) for path in folders.values()):
            continue
        means = tables.condition_means(folders, conditions, metric.name)
        plot = tables.condition_lines(means, metric)
        lines += [] if plot is None else [plot]
        table = tables.condition_table(means, metric)
        found.append(TitledTable(f"{metric.name} by condition", tables.ABOUT_CONDITIONS, table, is_folded=True))
    return found, lines
