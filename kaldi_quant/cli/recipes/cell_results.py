"""The results of the cells of a recipe, as text and as a page on which one can listen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kaldi_quant.atomic import atomic_write
from kaldi_quant.cli.options import num_threads_option, result_file, set_threads
from kaldi_quant.errors import UsageError

if TYPE_CHECKING:
    from kaldi_quant.cli.recipes.cell_sounds import Heard
    from kaldi_quant.frontends.cell_scores import CellScores
    from kaldi_quant.frontends.experiments import Experiment
    from kaldi_quant.report.pages.lines import Lines
    from kaldi_quant.report.pages.listening_page import TitledTable

RESULTS_NAME, PAGE_NAME = "RESULTS", "report.html"


@dataclass(frozen=True)
class Task:
    """What the results of a recipe show.

    Args:
        title: of all.
        recipe: its folder, from that of the project on.
        scores: where those of a network's cells stand.
        untouched: the folders of the scores of what nothing was done to, by the names that tables give them.
        heard: what there is to be heard.
        further: tables and plots of a network's folders beside those that all recipes have.
        base: the cell beside which others' losses are seen; empty for none.
    """

    title: str
    recipe: str
    scores: Callable[[str], CellScores]
    untouched: Callable[[Experiment, str], Mapping[str, Path]]
    heard: Heard
    further: Callable[[Experiment, Mapping[str, Path]], tuple[list[TitledTable], list[Lines]]]
    base: str = ""


def results_options(recipe: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of the command, which are the arguments of ``write_results``."""
    options = [
        click.option(
            "--exp-dir",
            default="exp",
            show_default=True,
            metavar="FOLDER",
            help="Of NETWORK/CELL, or of SEED/NETWORK/CELL.",
        ),
        click.option("--results", default="", metavar="FILE", help="For the text; by default RESULTS in --exp-dir."),
        click.option("--page", default="", metavar="FILE", help="By default report.html in --exp-dir."),
        click.option(
            "--recordings", type=int, default=4, show_default=True, help="Of each network, to be heard; 0 for none."
        ),
        click.option("--page-megabytes", type=float, default=7.0, show_default=True, help="That recordings may take."),
        click.option("--replications", type=int, default=10_000, show_default=True, help="Of the bootstrap."),
        click.option(
            "--command", default=f"bash {recipe}/run.sh", show_default=True, help="That made the cells, for the text."
        ),
        num_threads_option(),
    ]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def write_results(
    task: Callable[[], Task],
    exp_dir: str,
    results: str,
    page: str,
    recordings: int,
    page_megabytes: float,
    replications: int,
    command: str,
    num_threads: int,
) -> None:
    """Writes the text and the page, and prints the text.

    Args:
        task: what is shown; it is made when options are known to be right.
        exp_dir: and what follows: the options.

    Raises:
        DataError: there are no cells, or they cannot be compared.
        UsageError: an option is impossible.
    """
    set_threads(num_threads)
    if recordings < 0:
        raise UsageError(f"--recordings cannot be negative, found {recordings}")
    if not page_megabytes >= 0:
        raise UsageError(f"--page-megabytes cannot be negative, found {page_megabytes:g}")

    from kaldi_quant import __version__
    from kaldi_quant.cli.recipes.cell_sounds import recordings_of
    from kaldi_quant.frontends.experiments import experiments_in
    from kaldi_quant.report.comparison import ComparisonOptions
    from kaldi_quant.report.pages.listening_page import listening_page

    shown, folder = task(), Path(exp_dir)
    options = ComparisonOptions(replications=replications)
    experiments = experiments_in(folder)
    paths = [result_file(given or str(folder / name)) for given, name in ((results, RESULTS_NAME), (page, PAGE_NAME))]
    networks = experiments[0].networks
    heard = recordings_of(networks, recordings, int(1e6 * page_megabytes), shown.heard)
    parts = [_part(shown, experiments, name, heard[name], options) for name in networks]
    # Paths as whoever keeps the text finds them.
    text = "\n\n".join(map(_text, parts)).replace(f"{folder}/", f"{folder.name}/")
    head = f"# {shown.title}: made by `{command}`, which writes these lines; each cell's cell.json has its command.\n"
    contents = (f"{head}\n{text}\n", listening_page(shown.title, f"kaldi_quant {__version__}", parts))
    for path, content in zip(paths, contents, strict=True):
        with atomic_write(path, "w") as stream:
            stream.write(content)
    click.echo(text)


def _part(task: Task, experiments: Sequence[Experiment], network: str, heard: Sequence[Any], options: Any) -> Any:
    """What is told of a network."""
    from kaldi_quant.cli.recipes import cell_tables as tables
    from kaldi_quant.report.pages.listening_page import HeardPart, TitledTable

    first, scores = experiments[0], task.scores(network)
    folders = {**tables.folders_of(first, network), **task.untouched(first, network)}
    several = [each for each in experiments if network in each.networks]
    found = []
    if task.base:
        losses = tables.loss_table(several, network, scores, options, task.base)
        about = tables.about_losses(scores.first, len(several), task.base)
        found += [] if losses is None else [TitledTable("Lost against float", about, losses)]
    if len(several) > 1:
        seeds = tables.seed_table(several, network, scores, options)
        found.append(TitledTable("Over seeds", tables.ABOUT_SEEDS, seeds))
    found.append(TitledTable("All scores", tables.ABOUT_SCORES, tables.score_table(folders, scores, options)))
    further, lines = task.further(first, folders)
    made_by = _commands(first.networks[network], task.recipe)
    found += [*further, TitledTable("Made by", "In the folder of the recipe.", made_by)]
    comparison = tables.comparison_of(folders, scores.first.name, scores, options)
    return HeardPart(network, comparison, found, lines, heard)


def _commands(cells: Sequence[Path], recipe: str) -> Any:
    """What makes each cell."""
    from kaldi_quant.frontends.cells import read_cell
    from kaldi_quant.report.cells import Table

    return Table(["cell", "made by"], [[cell.name, here(read_cell(cell)[0].command, recipe)] for cell in cells])


def here(command: str, recipe: str) -> str:
    """A command as it is called in the recipe's folder."""
    return " ".join(word.rpartition(f"{recipe}/")[2] for word in command.split())


def _text(part: Any) -> str:
    from kaldi_quant.report.text import as_text, table_as_text

    tables = [f"# {each.title}. {each.about}\n{table_as_text(each.content)}" for each in part.tables]
    return "\n".join([f"## {part.name}\n{as_text(part.comparison)}", *tables]).rstrip()
