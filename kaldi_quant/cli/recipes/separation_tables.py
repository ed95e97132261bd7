"""Tables of separated music: the SDR of each stem as papers have it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kaldi_quant.frontends.cells import CELL_NAME, read_cell
from kaldi_quant.frontends.separation.networks.known import STEMS
from kaldi_quant.frontends.separation.scores.cell_files import MEDIANS_KEY
from kaldi_quant.report.cells import EMPTY, Table

ABOUT_MEDIANS = "BSS Eval v4 in dB: the median over tracks of the median over seconds; the last column is the mean."


def median_table(folders: Mapping[str, Path]) -> Table | None:
    """A row for each cell that has medians; None where none has."""
    body = []
    for name, folder in folders.items():
        if not (folder / CELL_NAME).is_file():
            continue
        medians = read_cell(folder)[0].details.get(MEDIANS_KEY)
        if not isinstance(medians, dict):
            continue
        values = [medians.get(stem) for stem in STEMS]
        known = [float(value) for value in values if isinstance(value, int | float)]
        shown = [f"{value:.2f}" if isinstance(value, int | float) else EMPTY for value in values]
        body.append([name, *shown, f"{sum(known) / len(known):.2f}" if len(known) == len(STEMS) else EMPTY])
    return Table(["cell", *STEMS, "all"], body) if body else None
