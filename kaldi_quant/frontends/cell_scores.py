"""The scores of a cell as files: the first in its own folder, the others in folders of their names within."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.errors import DataError
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.metrics.score import Score
from kaldi_quant.metrics.score_file import FILE_NAME, read_score, write_score


@dataclass(frozen=True)
class CellScores:
    """Where the scores of a task's cells stand.

    Args:
        what: is scored, for messages.
        metrics: all of them, the first in the cell's own folder.
    """

    what: str
    metrics: tuple[Metric, ...]

    @property
    def first(self) -> Metric:
        """The metric that counts first."""
        return self.metrics[0]

    def folder(self, cell: Path, metric: str) -> Path:
        """Where a score of a cell stands.

        Example:
            >>> scores = CellScores("speech", (PESQ, SI_SDR))
            >>> scores.folder(Path("exp/crn/float"), "SI-SDR"), scores.folder(Path("exp/crn/float"), "PESQ")
            (PosixPath('exp/crn/float/si-sdr'), PosixPath('exp/crn/float'))
        """
        return cell if metric == self.first.name else cell / metric.lower()

    def has(self, cell: Path, metric: str) -> bool:
        """Whether a cell has a score."""
        return (self.folder(cell, metric) / FILE_NAME).is_file()

    def write(self, cell: Path, scores: Mapping[str, Score]) -> list[Path]:
        """Writes all scores of a cell, by the names of metrics, and returns their paths.

        Raises:
            DataError: a file cannot be written.
        """
        found = []
        for name, score in scores.items():
            folder = self.folder(cell, name)
            folder.mkdir(parents=True, exist_ok=True)
            found.append(write_score(folder, score))
        return found

    def read(self, cell: Path) -> dict[str, Score]:
        """The scores of a cell by the names of metrics, those that are there.

        Raises:
            DataError: there is none, or a file holds another score than its folder says.
            FormatError: a file is broken.
        """
        found = {}
        for metric in self.metrics:
            folder = self.folder(cell, metric.name)
            if (folder / FILE_NAME).is_file():
                score = read_score(folder)
                if score.metric.name != metric.name:
                    raise DataError(f"{folder / FILE_NAME}: expected {metric.name}, found {score.metric.name}")
                found[metric.name] = score
        if not found:
            raise DataError(f"{cell} has no scores of {self.what}: expected {FILE_NAME}")
        return found
