"""The scores of a cell as files: PESQ in its own folder, the others in folders of their names beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kaldi_quant.frontends.cell_scores import CellScores
from kaldi_quant.frontends.enhancement.scores.conditions import conditions_of, write_conditions
from kaldi_quant.frontends.enhancement.scores.measured import METRICS, ScoredPair, noisy_scores
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.metrics.score import Score
from kaldi_quant.units import Hertz

#: Beside the networks' folders: the scores of noisy speech.
NOISY = "noisy"
#: Where scores stand.
CELL_SCORES = CellScores("enhanced speech", METRICS)


def write_cell_scores(cell: Path, scores: Mapping[str, Score]) -> list[Path]:
    """Writes all scores of a cell; see ``CellScores.write``."""
    return CELL_SCORES.write(cell, scores)


def read_cell_scores(cell: Path) -> dict[str, Score]:
    """The scores of a cell by the names of metrics; see ``CellScores.read``."""
    return CELL_SCORES.read(cell)


def write_noisy(exp: Path, pairs: Sequence[ScoredPair], rate: Hertz, metrics: Sequence[Metric] = METRICS) -> list[Path]:
    """Writes the scores of noisy speech itself and the table of conditions, and returns their paths.

    Args:
        exp: the folder of all cells, or of those of a seed.
        pairs: the test set.
        rate: of all.
        metrics: which scores.

    Raises:
        DataError: a file cannot be written, or a recording is broken.
    """
    folder = exp / NOISY
    written = write_cell_scores(folder, noisy_scores(pairs, rate, metrics))
    return [*written, write_conditions(folder, conditions_of(pairs))]
