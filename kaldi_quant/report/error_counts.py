"""The errors of several decode folders in the utterances, or speakers, of the test set that they have in common."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kaldi_quant.decode.wer import count_edits
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.features.speakers import file_of, read_utt2spk
from kaldi_quant.report.files.decode_folder import DecodeFolder


@dataclass(frozen=True)
class ErrorCounts:
    """What the bootstrap draws from.

    Attributes:
        errors: (units, folders) int.
        words: (units,) int, of the references.
        unit: what a unit is: "utterances" or "speakers".
    """

    errors: np.ndarray
    words: np.ndarray
    unit: str


def count_errors(folders: Sequence[DecodeFolder], utt2spk: str | None) -> ErrorCounts:
    """Counts errors.

    Args:
        folders: at least one.
        utt2spk: a file of speakers, which are then the units in place of utterances.

    Raises:
        KaldiQuantError: a folder was not scored on the same utterances and words as the first, or speakers are missing.
    """
    first = folders[0]
    for folder in folders[1:]:
        _check_same_test(first, folder)
    references = {utterance: first.references[utterance] for utterance in first.scored}
    errors = np.array(
        [
            [count_edits(words, folder.hypotheses[utterance]).total for folder in folders]
            for utterance, words in references.items()
        ]
    )
    words = np.array([len(reference) for reference in references.values()])
    units = _units(list(references), utt2spk)
    return ErrorCounts(_sum(errors, units), _sum(words, units), "speakers" if utt2spk else "utterances")


def _check_same_test(first: DecodeFolder, other: DecodeFolder) -> None:
    """Refuses folders that were scored on different utterances or words.

    Raises:
        DataError: names the first utterance that differs.
    """
    for one, another in ((first, other), (other, first)):
        lacking = [utterance for utterance in one.references if utterance not in another.references]
        if lacking:
            raise DataError(
                f"{first.path} and {other.path} were scored on different test sets: the reference of {lacking[0]} "
                f"({len(lacking)} in all) is only in {one.path}"
            )
    for utterance, words in first.references.items():
        if words != other.references[utterance]:
            raise DataError(
                f"{first.path} and {other.path} were scored against different references: {utterance} is "
                f"{' '.join(words)[:60]!r} in the one and {' '.join(other.references[utterance])[:60]!r} in the other"
            )
    for one, another in ((first, other), (other, first)):
        lacking = [utterance for utterance in one.scored if utterance not in another.hypotheses]
        if lacking:
            raise DataError(
                f"{another.path} has no hypothesis for {lacking[0]} ({len(lacking)} in all), which {one.path} has: "
                "decode and score both on the same utterances"
            )


def _units(utterances: list[str], utt2spk: str | None) -> np.ndarray:
    """(utterances,) the number of the unit of each."""
    if utt2spk is None:
        return np.arange(len(utterances))
    speakers = read_utt2spk(file_of(utt2spk))
    numbers: dict[str, int] = defaultdict(lambda: len(numbers))
    for utterance in utterances:
        if utterance not in speakers:
            raise DataError(f"{utt2spk} has no speaker for the utterance {utterance}")
    return np.array([numbers[speakers[utterance]] for utterance in utterances])


def _sum(counts: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Sums rows: (utterances, …) → (units, …)."""
    totals = np.zeros((units.max() + 1, *counts.shape[1:]), counts.dtype)
    np.add.at(totals, units, counts)
    return totals
