"""The scores of several folders, unit beside unit, or summed over the speakers that utterances are of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.features.speakers import file_of, read_utt2spk
from kaldi_quant.metrics.score import Score, shown_name

# More names than these do not fit into a sentence.
_MOST_NAMES = 3


@dataclass(frozen=True)
class PairedScores:
    """What the bootstrap draws from.

    Attributes:
        amounts: (units, folders) float64, parts of the upper sums.
        out_of: (units,) float64, parts of the lower sum, which all have in common; of means the number of utterances.
        scale: of the ratio of the sums.
        units_are: what a unit is: "utterances", "speakers", "files".
    """

    amounts: np.ndarray
    out_of: np.ndarray
    scale: float
    units_are: str

    def count_differing(self, folders: Sequence[int], references: Sequence[int]) -> int:
        """In how many units the mean of some folders is not that of others."""
        means = [self.amounts[:, list(those)].mean(axis=1) for those in (folders, references)]
        return int(np.count_nonzero(means[0] != means[1]))


def pair_scores(scores: Sequence[tuple[str, Score]], utt2spk: str | None) -> PairedScores:
    """Puts scores side by side.

    Args:
        scores: at least one, each with the folder that it is of, for messages.
        utt2spk: a file of speakers, which are then the units in place of utterances.

    Raises:
        KaldiQuantError: a score is of another metric or of other units than the first, or speakers are missing.
    """
    first, *others = scores
    for other in others:
        _check_comparable(first, other)
    score = first[1]
    names = list(score.per_unit)
    amounts = np.array([[each.per_unit[name] for _, each in scores] for name in names])
    out_of = np.array([score.out_of[name] for name in names]) if score.out_of else np.ones(len(names))
    units = _units(names, utt2spk)
    units_are = "speakers" if utt2spk else score.units_are
    return PairedScores(_sum(amounts, units), _sum(out_of, units), score.metric.scale, units_are)


def _check_comparable(first: tuple[str, Score], other: tuple[str, Score]) -> None:
    (one, score), (another, compared) = first, other
    if not score.metric.is_same(compared.metric):
        raise DataError(
            f"{one} has {score.metric}, and {another} has {compared.metric}: all folders of a comparison need the "
            "same metric"
        )
    if score.made_by and compared.made_by and score.made_by != compared.made_by:
        raise DataError(
            f"{one} has {score.metric.name} as {score.made_by} computes it, and {another} as {compared.made_by} does: "
            "score both by the same program"
        )
    for has, lacks in ((first, other), (other, first)):
        lacking = [unit for unit in has[1].per_unit if unit not in lacks[1].per_unit]
        if lacking:
            raise DataError(
                f"{lacks[0]} has no {score.metric.name} of {_named(lacking)}, which {has[0]} has: score both on the "
                f"same {score.units_are}"
            )
    if (score.out_of is None) != (compared.out_of is None):
        ratio, mean = (one, another) if score.out_of else (another, one)
        raise DataError(f"{ratio} has a ratio of sums (out_of), and {mean} a mean: they cannot be compared")
    for unit, part in (score.out_of or {}).items():
        if compared.out_of and compared.out_of[unit] != part:
            raise DataError(
                f"{one} and {another} were scored on different test sets: {shown_name(unit)} is out of {part:g} in the "
                f"one and out of {compared.out_of[unit]:g} in the other"
            )


def _named(units: list[str]) -> str:
    """``a, b, c and 4 more``."""
    names = ", ".join(map(shown_name, units[:_MOST_NAMES]))
    return f"{names} and {len(units) - _MOST_NAMES} more" if len(units) > _MOST_NAMES else names


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


def _sum(amounts: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Sums rows: (utterances, …) → (units, …)."""
    totals = np.zeros((units.max() + 1, *amounts.shape[1:]), amounts.dtype)
    np.add.at(totals, units, amounts)
    return totals
