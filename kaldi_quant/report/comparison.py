"""Decode folders of one test set side by side: word error rates with their intervals, and differences to the first."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kaldi_quant.decode.wer import count_edits
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.text_tables import read_text_map
from kaldi_quant.report.files.decode_folder import DecodeFolder, FixedPoint, read_folders
from kaldi_quant.report.significance.alignment import ErrorSlots, error_slots
from kaldi_quant.report.significance.bootstrap import DEFAULT_REPLICATIONS, Bootstrap, Interval, PairedDifference
from kaldi_quant.report.significance.mapsswe import MatchedPairs, matched_pairs
from kaldi_quant.report.speed import Speeds

#: Differences that chance gives more rarely than this are called significant.
LEVEL = 0.05


@dataclass(frozen=True)
class ComparisonOptions:
    """How folders are compared.

    Attributes:
        fixed: where in the sweep; by default each folder's own best point.
        utt2spk: a file of speakers, which are then drawn in place of utterances.
        replications, seed: of the bootstrap.
    """

    fixed: FixedPoint = field(default_factory=FixedPoint)
    utt2spk: str | None = None
    replications: int = DEFAULT_REPLICATIONS
    seed: int = 0


@dataclass(frozen=True)
class Versus:
    """A folder against the first.

    Attributes:
        paired: by paired bootstrap.
        matched: by MAPSSWE; positive where the first errs more.
        equal_utterances: in how many both have the same words.
    """

    paired: PairedDifference
    matched: MatchedPairs
    equal_utterances: int

    @property
    def significant(self) -> bool | None:
        """Whether the difference is; None where one test says so and another does not."""
        p_values = (self.paired.p_value, self.matched.p_value, self.matched.exact_p_value)
        verdicts = {p_value < LEVEL for p_value in p_values}
        return verdicts.pop() if len(verdicts) == 1 else None


@dataclass(frozen=True)
class Row:
    """One folder; ``versus`` is None for the first."""

    folder: DecodeFolder
    interval: Interval
    versus: Versus | None

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.folder.name

    @property
    def size(self) -> int | None:
        """Bytes of its model on disk."""
        return self.folder.record.size if self.folder.record else None

    @property
    def share_of_float(self) -> float | None:
        """Its size as a share of the float parameters that inference needs."""
        record = self.folder.record
        return self.size / record.float_bytes if record and self.size is not None and record.float_bytes else None


@dataclass(frozen=True)
class Comparison:
    """What the tables show.

    Attributes:
        rows: the folders, in the order given; the first is the reference.
        options: how they were compared.
        unit: what was drawn: "utterances" or "speakers".
        units: how many there are.
        speeds: of the models, where measured.
    """

    rows: list[Row]
    options: ComparisonOptions
    unit: str
    units: int
    speeds: Speeds | None = None


def compare(arguments: list[str], options: ComparisonOptions | None = None) -> Comparison:
    """Compares decode folders.

    Args:
        arguments: ``DIR`` or ``NAME=DIR``; the first is the reference.
        options: how.

    Raises:
        KaldiQuantError: a folder cannot be read, or was not scored on the same utterances and words as the first.
    """
    options = options or ComparisonOptions()
    folders = read_folders(arguments, options.fixed)
    for folder in folders[1:]:
        _check_same_test(folders[0], folder)
    utterances = folders[0].scored
    references = [folders[0].references[utterance] for utterance in utterances]
    errors = np.array(
        [
            [count_edits(words, folder.hypotheses[utterance]).total for folder in folders]
            for utterance, words in zip(utterances, references, strict=True)
        ]
    )
    words = np.array([len(reference) for reference in references])
    groups = _groups(utterances, options.utt2spk)
    bootstrap = Bootstrap(_sum(errors, groups), _sum(words, groups), options.replications, options.seed)
    slots = [
        [
            error_slots(words, folder.hypotheses[utterance])
            for utterance, words in zip(utterances, references, strict=True)
        ]
        for folder in folders
    ]
    rows = [
        Row(folder, bootstrap.interval(column), _versus(folders, slots, column, bootstrap) if column else None)
        for column, folder in enumerate(folders)
    ]
    return Comparison(rows, options, "speakers" if options.utt2spk else "utterances", bootstrap.units)


def _versus(folders: list[DecodeFolder], slots: list[list[ErrorSlots]], column: int, bootstrap: Bootstrap) -> Versus:
    first, other = folders[0], folders[column]
    equal = sum(first.hypotheses[utterance] == other.hypotheses[utterance] for utterance in first.scored)
    matched = matched_pairs(zip(slots[0], slots[column], strict=True))
    return Versus(bootstrap.compare(column, 0), matched, equal)


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


def _groups(utterances: list[str], utt2spk: str | None) -> np.ndarray:
    """(utterances,) the number of the unit of each."""
    if utt2spk is None:
        return np.arange(len(utterances))
    speakers = {utterance: words[0] for utterance, words in read_text_map(Path(utt2spk), fields=1).items()}
    numbers: dict[str, int] = defaultdict(lambda: len(numbers))
    for utterance in utterances:
        if utterance not in speakers:
            raise DataError(f"{utt2spk}: has no speaker for the utterance {utterance}")
    return np.array([numbers[speakers[utterance]] for utterance in utterances])


def _sum(counts: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Sums rows: (utterances, …) → (units, …)."""
    totals = np.zeros((groups.max() + 1, *counts.shape[1:]), counts.dtype)
    np.add.at(totals, groups, counts)
    return totals
