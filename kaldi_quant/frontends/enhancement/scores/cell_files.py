"""The scores of a cell as files: PESQ in its own folder, the others in folders of their names beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.enhancement.scores.conditions import conditions_of, write_conditions
from kaldi_quant.frontends.enhancement.scores.measured import METRICS, ScoredPair, noisy_scores
from kaldi_quant.metrics.known import PESQ
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.metrics.score import Score
from kaldi_quant.metrics.score_file import FILE_NAME, read_score, write_score
from kaldi_quant.units import Hertz

#: Beside the networks' folders: the scores of noisy speech.
NOISY = "noisy"


def score_folder(cell: Path, metric: str) -> Path:
    """Where a score of a cell stands.

    Example:
        >>> score_folder(Path("exp/crn/float"), "SI-SDR"), score_folder(Path("exp/crn/float"), "PESQ")
        (PosixPath('exp/crn/float/si-sdr'), PosixPath('exp/crn/float'))
    """
    return cell if metric == PESQ.name else cell / metric.lower()


def write_cell_scores(cell: Path, scores: Mapping[str, Score]) -> list[Path]:
    """Writes all scores of a cell, and returns their paths.

    Args:
        cell: its folder.
        scores: by the names of metrics.

    Raises:
        DataError: a file cannot be written.
    """
    found = []
    for name, score in scores.items():
        folder = score_folder(cell, name)
        folder.mkdir(parents=True, exist_ok=True)
        found.append(write_score(folder, score))
    return found


def read_cell_scores(cell: Path) -> dict[str, Score]:
    """The scores of a cell by the names of metrics, those of ``METRICS`` that are there.

    Raises:
        DataError: there is none, or a file holds another score than its folder says.
        FormatError: a file is broken.
    """
    found = {}
    for metric in METRICS:
        folder = score_folder(cell, metric.name)
        if (folder / FILE_NAME).is_file():
            score = read_score(folder)
            if score.metric.name != metric.name:
                raise DataError(f"{folder / FILE_NAME}: expected {metric.name}, found {score.metric.name}")
            found[metric.name] = score
    if not found:
        raise DataError(f"{cell} has no scores of enhanced speech: expected {FILE_NAME}")
    return found


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
