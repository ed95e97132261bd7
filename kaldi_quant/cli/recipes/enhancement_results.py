"""``egs/enhancement``: the results of all cells, as text and as a page on which one can listen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from kaldi_quant.atomic import atomic_write
from kaldi_quant.cli.options import KaldiCommand, num_threads_option, result_file, set_threads
from kaldi_quant.errors import UsageError

RESULTS_NAME, PAGE_NAME = "RESULTS", "report.html"
_TITLE = "Speech enhancement"


@click.command(cls=KaldiCommand)
@click.option(
    "--exp-dir", default="exp", show_default=True, metavar="FOLDER", help="Of NETWORK/CELL, or of SEED/NETWORK/CELL."
)
@click.option("--results", default="", metavar="FILE", help="For the text; by default RESULTS in --exp-dir.")
@click.option("--page", default="", metavar="FILE", help="By default report.html in --exp-dir.")
@click.option("--recordings", type=int, default=4, show_default=True, help="Of each network, to be heard; 0 for none.")
@click.option("--page-megabytes", type=float, default=7.0, show_default=True, help="That recordings may take.")
@click.option("--replications", type=int, default=10_000, show_default=True, help="Of the bootstrap.")
@click.option(
    "--command", default="bash egs/enhancement/run.sh", show_default=True, help="That made the cells, for the text."
)
@num_threads_option()
def results(
    exp_dir: str,
    results: str,
    page: str,
    recordings: int,
    page_megabytes: float,
    replications: int,
    command: str,
    num_threads: int,
) -> None:
    """Write the scores of all cells as text and as a page on which one can listen.

    A cell is a folder with cell.json and scores.json (PESQ); further scores are in its folders pesq-nb, stoi, si-sdr,
    snr and mse. FOLDER/noisy has those of noisy speech, and conditions.tsv: the noise and the ratio of each recording.
    What is to be heard is in a cell's est_predictions. With seeds, the first is shown in detail.

    e.g.: results.py --exp-dir exp --recordings 4
    """
    from kaldi_quant import __version__
    from kaldi_quant.frontends.enhancement.scores.layout import experiments_in
    from kaldi_quant.report.comparison import ComparisonOptions
    from kaldi_quant.report.pages.listening_page import listening_page

    set_threads(num_threads)
    if recordings < 0:
        raise UsageError(f"--recordings cannot be negative, found {recordings}")
    if not page_megabytes >= 0:
        raise UsageError(f"--page-megabytes cannot be negative, found {page_megabytes:g}")
    folder, options = Path(exp_dir), ComparisonOptions(replications=replications)
    experiments = experiments_in(folder)
    paths = [result_file(given or str(folder / name)) for given, name in ((results, RESULTS_NAME), (page, PAGE_NAME))]
    parts = _parts(experiments, recordings, int(1e6 * page_megabytes), options)
    # Paths as whoever keeps the text finds them.
    text = "\n\n".join(map(_text, parts)).replace(f"{folder}/", f"{folder.name}/")
    head = f"# {_TITLE}: made by `{command}`, which writes these lines; each cell's cell.json has its command.\n"
    contents = (f"{head}\n{text}\n", listening_page(_TITLE, f"kaldi_quant {__version__}", parts))
    for path, content in zip(paths, contents, strict=True):
        with atomic_write(path, "w") as stream:
            stream.write(content)
    click.echo(text)


def _parts(experiments: Sequence[Any], recordings: int, most: int, options: Any) -> list[Any]:
    from kaldi_quant.cli.recipes.enhancement_sounds import recordings_of

    first = experiments[0]
    heard = recordings_of(first.networks, recordings, most)
    return [_part(experiments, name, heard[name], options) for name in first.networks]


def _part(experiments: Sequence[Any], network: str, heard: Sequence[Any], options: Any) -> Any:
    """What is told of a network."""
    from kaldi_quant.cli.recipes import enhancement_tables as tables
    from kaldi_quant.report.pages.listening_page import HeardPart, TitledTable

    first = experiments[0]
    folders = tables.folders_of(first, network)
    found, lines = [], []
    several = [each for each in experiments if network in each.networks]
    if len(several) > 1:
        seeds = tables.seed_table(several, network, options)
        found.append(TitledTable("Over seeds", tables.ABOUT_SEEDS, seeds))
    found.append(TitledTable("All scores", tables.ABOUT_SCORES, tables.score_table(folders, options)))
    conditions = first.conditions()
    for metric in tables.BY_CONDITION if conditions is not None else ():
        if not all(tables.has_score(path, metric.name) for path in folders.values()):
            continue
        means = tables.condition_means(folders, conditions, metric.name)
        plot = tables.condition_lines(means, metric)
        lines += [] if plot is None else [plot]
        table = tables.condition_table(means, metric)
        found.append(TitledTable(f"{metric.name} by condition", tables.ABOUT_CONDITIONS, table, is_folded=True))
    found.append(TitledTable("Made by", "In the folder of the recipe.", _commands(first.networks[network])))
    comparison = tables.comparison_of(folders, "PESQ", options)
    return HeardPart(network, comparison, found, lines, heard)


def _commands(cells: Sequence[Path]) -> Any:
    """What makes each cell."""
    from kaldi_quant.frontends.cells import read_cell
    from kaldi_quant.report.cells import Table

    return Table(["cell", "made by"], [[cell.name, _here(read_cell(cell)[0].command)] for cell in cells])


def _here(command: str) -> str:
    """A command as it is called in the recipe's folder."""
    return " ".join(word.rpartition("egs/enhancement/")[2] for word in command.split())


def _text(part: Any) -> str:
    from kaldi_quant.report.text import as_text, table_as_text

    tables = [f"# {each.title}. {each.about}\n{table_as_text(each.content)}" for each in part.tables]
    return "\n".join([f"## {part.name}\n{as_text(part.comparison)}", *tables]).rstrip()
