"""A folder with ``scores.json``, and beside it the record of how the model that it scores was quantized."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.errors import DataError
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.metrics.score import Score
from kaldi_quant.metrics.score_file import FILE_NAME, read_score
from kaldi_quant.report.files.record import QuantizationRecord, read_record


@dataclass(frozen=True)
class ScoreFolder:
    """The score of one folder.

    Attributes:
        name: what tables call it.
        path: the folder.
        score: what its ``scores.json`` says.
        record: how the model was quantized; None where the folder does not say.
    """

    name: str
    path: Path
    score: Score
    record: QuantizationRecord | None

    @property
    def metric(self) -> Metric:
        """What was measured."""
        return self.score.metric

    @property
    def value(self) -> float:
        """The score."""
        return self.score.value

    @property
    def score_file(self) -> Path:
        """``scores.json``."""
        return self.path / FILE_NAME


def read_score_folder(path: Path, name: str) -> ScoreFolder:
    """Reads a folder.

    Args:
        path: the folder.
        name: what tables call it.

    Raises:
        KaldiQuantError: it is missing, or its files are malformed.
    """
    if not path.is_dir():
        raise DataError(f"the folder {path} does not exist")
    return ScoreFolder(name, path, read_score(path), read_record(path))
