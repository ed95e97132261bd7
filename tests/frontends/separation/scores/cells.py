"""Cells of separated signals as recipes leave them, of something that leaves a share of the other sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kaldi_quant.frontends.cells import Work, make_cell
from kaldi_quant.frontends.separation.networks.known import Kind
from kaldi_quant.frontends.separation.scores.cell_files import MEDIANS_KEY, cell_scores
from kaldi_quant.frontends.separation.scores.measured import source_values
from kaldi_quant.frontends.separation.scores.predictions import write_predictions
from kaldi_quant.made import Sources
from kaldi_quant.metrics.known import SDR_V4
from kaldi_quant.metrics.metric import Metric
from tests.frontends.separation.scores.mixtures import Mixture, nearly

#: cell → the share of the other sources that stays.
CELLS = {"float": 0.10, "fqss": 0.11, "ours-w8a8": 0.102, "vanilla-qat": 0.15}


def write_cells(
    exp: Path,
    mixtures: Sequence[Mixture],
    network: str,
    kind: Kind,
    metrics: Sequence[Metric] | None = None,
    worse: float = 0.0,
    heard: int = 2,
) -> None:
    """Writes cells of a network.

    Args:
        exp: the folder of networks.
        mixtures: the test set.
        network: its name.
        kind: of it.
        metrics: which scores; by default those of the kind.
        worse: added to the share of other sources.
        heard: so many recordings are left.
    """
    for name, share in CELLS.items():
        _write(exp / network / name, mixtures, kind, metrics, share + worse, heard)


def _write(
    folder: Path,
    mixtures: Sequence[Mixture],
    kind: Kind,
    metrics: Sequence[Metric] | None,
    share: float,
    heard: int,
) -> None:
    random = np.random.default_rng(0)
    estimates = {one.name: nearly(one, share * random.uniform(0.9, 1.1)) for one in mixtures}

    def work(place: Path) -> Work:
        model = place / "model.bin"
        model.write_bytes(bytes(1000))
        values = source_values(mixtures, estimates, kind, metrics)
        units_are = "tracks" if kind.is_ordered else "recordings"
        scores = {name: each.score(units_are) for name, each in values.items()}
        where = cell_scores(kind)
        others = where.write(place, scores)
        if heard:
            others += write_predictions(place, mixtures, estimates, kind, range(heard))
        details = {MEDIANS_KEY: values[SDR_V4.name].medians(kind)} if kind.is_ordered else {}
        return Work(model, scores[where.first.name], 1000, others, details)

    folder.mkdir(parents=True)
    make_cell(folder, "", f"egs/separation/cells.py {folder.name}", Sources(), work)
