"""``egs/separation``: the results of all cells, as text and as a page on which one can listen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from kaldi_quant.cli.options import KaldiCommand
from kaldi_quant.cli.recipes.cell_results import Task, results_options, write_results

_RECIPE = "egs/separation"
# What others' losses are seen beside.
_BASE = "vanilla-qat"


@click.command(cls=KaldiCommand)
@results_options(_RECIPE)
def results(**options: Any) -> None:
    """Write the scores of all cells as text and as a page on which one can listen.

    A cell is a folder with cell.json and scores.json (SI-SDR, of music NSDR); further scores are in its folders
    si-sdri, sdr, stoi and pesq, of music sdr-v4, si-sdr and si-sdri. FOLDER/mixture/NETWORK has those of mixtures. What
    is to be heard is in a cell's est_predictions. With seeds, the first is shown in detail.

    e.g.: results.py --exp-dir exp --recordings 4
    """
    write_results(_task, **options)


def _task() -> Task:
    from kaldi_quant.cli.recipes.cell_sounds import Heard
    from kaldi_quant.frontends.separation.networks.known import NETWORKS
    from kaldi_quant.frontends.separation.scores.cell_files import cell_scores
    from kaldi_quant.frontends.separation.scores.predictions import given_files, made_files, predictions_in

    heard = Heard(predictions_in, given_files, made_files)
    return Task(
        "Source separation", _RECIPE, lambda name: cell_scores(NETWORKS[name]), _mixture, heard, _medians, _BASE
    )


def _mixture(experiment: Any, network: str) -> dict[str, Path]:
    """The folder of the scores of mixtures, where they were measured."""
    from kaldi_quant.frontends.separation.networks.known import NETWORKS
    from kaldi_quant.frontends.separation.scores.cell_files import MIXTURE, cell_scores, mixture_folder

    scores, folder = cell_scores(NETWORKS[network]), mixture_folder(experiment.folder, network)
    return {MIXTURE: folder} if scores.has(folder, scores.first.name) else {}


def _medians(experiment: Any, folders: Mapping[str, Path]) -> tuple[list[Any], list[Any]]:
    """A table of the medians over tracks of each stem, where cells have them."""
    from kaldi_quant.cli.recipes.separation_tables import ABOUT_MEDIANS, median_table
    from kaldi_quant.report.pages.listening_page import TitledTable

    table = median_table(folders)
    return ([] if table is None else [TitledTable("SDR of stems", ABOUT_MEDIANS, table)]), []
