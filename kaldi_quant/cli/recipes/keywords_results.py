"""``egs/keywords``: the results of all cells, as text and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from kaldi_quant.atomic import atomic_write
from kaldi_quant.cli.options import KaldiCommand, num_threads_option, set_threads
from kaldi_quant.errors import DataError

RESULTS_NAME, PAGE_NAME = "RESULTS", "report.html"
_COMMAND = "bash egs/keywords/run.sh"


@click.command(cls=KaldiCommand)
@click.option("--exp-dir", default="exp", show_default=True, metavar="FOLDER", help="Of the cells.")
@click.option("--results", default="", metavar="FILE", help="For the text; by default RESULTS in --exp-dir.")
@num_threads_option()
def results(exp_dir: str, results: str, num_threads: int) -> None:
    """Measure what all cells cost, and write their results as text and as a page.

    e.g.: results.py --exp-dir exp
    """
    from kaldi_quant import __version__
    from kaldi_quant.frontends.cells import cells_in
    from kaldi_quant.report.pages.networks_page import networks_page

    # As the times are compared, by default on one thread.
    set_threads(num_threads or 1)
    folder = Path(exp_dir)
    networks: dict[str, list[Path]] = {}
    for cell in cells_in(folder):
        networks.setdefault(cell.parent.name, []).append(cell)
    if not networks:
        raise DataError(f"{exp_dir} has no cells: run.sh makes them")
    parts = [_part(name, cells) for name, cells in networks.items()]
    # Paths as whoever keeps the text finds them.
    text = "\n\n".join(map(_text, parts)).replace(f"{folder}/", f"{folder.name}/")
    head = (
        f"# Keyword networks: made by `{_COMMAND}`, which writes these lines; each cell's cell.json has its command.\n"
    )
    for path, content in (
        (Path(results) if results else folder / RESULTS_NAME, f"{head}\n{text}\n"),
        (folder / PAGE_NAME, networks_page("Keyword networks", f"kaldi_quant {__version__}", parts)),
    ):
        with atomic_write(path, "w") as stream:
            stream.write(content)
    click.echo(text)


def _part(network: str, cells: Sequence[Path]) -> Any:
    """What is told of a network."""
    from kaldi_quant.frontends.cells import FLOAT_METHOD, read_cell
    from kaldi_quant.frontends.keywords.costs import FILE_NAME, measure_costs, read_costs, sizes_of, write_costs
    from kaldi_quant.made import Made, Sources, make
    from kaldi_quant.report.comparison import compare
    from kaldi_quant.report.pages.networks_page import Bars, NetworkPart

    ordered = sorted(cells, key=lambda cell: (cell.name != FLOAT_METHOD, cell.name))
    path = cells[0].parent / FILE_NAME
    sizes = sizes_of(network)
    files = [file for cell in ordered for file in sorted(cell.iterdir()) if file.suffix in (".onnx", ".safetensors")]
    made = Made(path, Sources({"sizes": str(sizes)}, {"the cells": files}))
    make(made, lambda: write_costs(path, measure_costs(ordered, sizes)), lambda text: click.echo(text, err=True))
    costs = read_costs(path)
    comparison = compare([f"{cell.name}={cell}" for cell in ordered])
    shares = Bars("Where time goes", "Of the float network in torch, by function.", "share of the time", costs.shares)
    bars = [shares, *_sweeps(cells[0].parent)]
    told = {cell.name: read_cell(cell)[0] for cell in ordered}
    confusions = _confusions(told[FLOAT_METHOD].details)
    return NetworkPart(network, comparison, _costs(costs), _about(costs), bars, confusions, _about_cells(told))


def _about_cells(cells: Mapping[str, Any]) -> Any:
    """What makes each cell, and its other scores."""
    from kaldi_quant.report.cells import EMPTY, Table

    scores = {name: cell.details.get("scores", {}) for name, cell in cells.items()}
    others = list(dict.fromkeys(score for of_cell in scores.values() for score in of_cell))
    rows = [
        [name, *(f"{scores[name][score]:.4g}" if score in scores[name] else EMPTY for score in others), _words(cell)]
        for name, cell in cells.items()
    ]
    return Table(["cell", *others, "made by"], rows)


def _words(cell: Any) -> str:
    """The command of a cell, as it is called in the recipe's folder."""
    return " ".join(word.rpartition("egs/keywords/")[2] for word in cell.command.split())


def _confusions(details: Mapping[str, Any]) -> Any:
    """Which classes a network takes for which; None where it does not classify."""
    from kaldi_quant.report.pages.heat_map import Cell, HeatMap

    found = details.get("confusions")
    if not found:
        return None
    rows = [
        (name, [Cell(str(count), float(count)) for count in counts])
        for name, counts in zip(found["classes"], found["counts"], strict=True)
    ]
    return HeatMap("right", found["classes"], rows, "recordings")


def _sweeps(folder: Path) -> list[Any]:
    """Sensitivity by layer and by observer, where they were measured."""
    from kaldi_quant.frontends.keywords.sweeps import read_measured
    from kaldi_quant.report.pages.networks_page import Bars

    found = []
    for name, title in (("layers.json", "Sensitivity of layers"), ("observers.json", "Observers")):
        path = folder / "sensitivity" / name
        if path.is_file():
            values = {f"{each.what} {each.name}".strip(): each.accuracy for each in read_measured(path)}
            found.append(Bars(title, "On development data.", "accuracy, %", values))
    return found


def _costs(costs: Any) -> Any:
    from kaldi_quant.report.cells import EMPTY, Table

    sizes = list(costs.times)
    headings = ["cell", *(f"faster, {size}" for size in sizes), *(f"ms, {size}" for size in sizes)]
    headings += ["by", *(f"MB, {size}" for size in sizes)]
    rows = []
    for method in costs.times[sizes[0]]:
        times = [costs.times[size][method] for size in sizes]
        fastest = [min(each.seconds.values()) for each in times]
        by = dict.fromkeys(min(each.seconds, key=each.seconds.__getitem__) for each in times)
        memory = [costs.memory[size][method] for size in sizes]
        rows.append(
            [
                method,
                *(f"{each.ratio:.2f}" for each in times),
                *(f"{1000 * seconds:.3g}" for seconds in fastest),
                ", ".join(by),
                *(EMPTY if bytes_ is None else f"{bytes_ / 1e6:.1f}" for bytes_ in memory),
            ]
        )
    return Table(headings, rows)


def _about(costs: Any) -> str:
    return (
        f"{costs.operations} multiply-accumulates for the first size. Times on one thread, medians of one run in which "
        "all take turns; faster: than the fastest way to run the float network. Memory: the peak of a call in "
        "onnxruntime, weights included."
    )


def _text(part: Any) -> str:
    from kaldi_quant.report.text import as_text, table_as_text

    costs = f"# {part.about_costs}\n{table_as_text(part.costs)}"
    return f"## {part.name}\n{as_text(part.comparison)}\n{costs}\n{table_as_text(part.about)}".rstrip()
