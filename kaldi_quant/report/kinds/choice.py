"""Which kind of results folders hold."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kaldi_quant.decode.error_rate import ERROR_RATES, WORDS, ErrorRate
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.metrics.score_file import FILE_NAME
from kaldi_quant.report.files.decode_folder import FixedPoint
from kaldi_quant.report.kinds.kind import Kind
from kaldi_quant.report.kinds.scores import Scores
from kaldi_quant.report.kinds.words import Words


def kind_of(folders: Iterable[Path], fixed: FixedPoint, rate: ErrorRate) -> Kind[Any]:
    """The kind of results of all folders: scores where a folder has ``scores.json``, words of decode folders else.

    Args:
        folders: at least one.
        fixed, rate: what is to be compared of decode folders.

    Raises:
        DataError: some have scores and others do not, or a folder has both kinds of results.
        UsageError: folders have scores, and an option of decode folders was given.
    """
    paths = list(folders)
    scored = next((path for path in paths if (path / FILE_NAME).exists()), None)
    if scored is None:
        return Words(fixed, rate)
    for path in paths:
        _check_scores_alone(path, scored)
    if fixed != FixedPoint() or rate is not WORDS:
        raise UsageError(
            f"--lmwt, --wip and --cer are for decode folders, and {scored} has {FILE_NAME}: leave them out"
        )
    return Scores()


def _check_scores_alone(path: Path, scored: Path) -> None:
    if not path.is_dir():
        raise DataError(f"the folder {path} does not exist")
    if not (path / FILE_NAME).exists():
        raise DataError(
            f"{path} has no {FILE_NAME}, and {scored} has one: all folders of a comparison need the same metric"
        )
    if any(error_rate.point_of(name) for name in os.listdir(path) for error_rate in ERROR_RATES):
        raise DataError(
            f"{path} has {FILE_NAME} and word error rates ({WORDS.prefix}_LMWT_WIP): which is to be compared cannot be "
            f"told, move {FILE_NAME} to a folder of its own"
        )
