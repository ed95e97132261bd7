"""Decode folders of one test set side by side: word error rates with their intervals, and differences to the first."""

from __future__ import annotations

from dataclasses import dataclass, field

from kaldi_quant.decode.error_rate import WORDS, ErrorRate
from kaldi_quant.report.error_counts import count_errors
from kaldi_quant.report.files.decode_folder import DecodeFolder, FixedPoint, read_folders
from kaldi_quant.report.significance.alignment import ErrorSlots, error_slots
from kaldi_quant.report.significance.bootstrap import (
    DEFAULT_REPLICATIONS,
    Bootstrap,
    Interval,
    PairedDifference,
    check_draws,
)
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
        rate: what is compared: word or character error rates.

    Raises:
        UsageError: there are too few replications, or the seed is negative.
    """

    fixed: FixedPoint = field(default_factory=FixedPoint)
    utt2spk: str | None = None
    replications: int = DEFAULT_REPLICATIONS
    seed: int = 0
    rate: ErrorRate = WORDS

    def __post_init__(self) -> None:
        check_draws(self.replications, self.seed)


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
    def inference_bytes(self) -> int | None:
        """Bytes that inference needs: of a quantized model its file, of a float one its float32 parameters."""
        record = self.folder.record
        return record.float_bytes if record and record.is_float and record.float_bytes else self.size

    @property
    def share_of_float(self) -> float | None:
        """Its size as a share of the float parameters that inference needs: 1 for a float model."""
        record, size = self.folder.record, self.inference_bytes
        return size / record.float_bytes if record and size is not None and record.float_bytes else None


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

    @property
    def rate(self) -> ErrorRate:
        """What is compared."""
        return self.options.rate


def compare(arguments: list[str], options: ComparisonOptions | None = None) -> Comparison:
    """Compares decode folders.

    Args:
        arguments: ``DIR`` or ``NAME=DIR``; the first is the reference.
        options: how.

    Raises:
        KaldiQuantError: a folder cannot be read, or was not scored on the same utterances and words as the first.
    """
    options = options or ComparisonOptions()
    folders = read_folders(arguments, options.fixed, options.rate)
    counts = count_errors(folders, options.utt2spk)
    bootstrap = Bootstrap(counts.errors, counts.words, options.replications, options.seed)
    first = folders[0]
    slots = [
        [error_slots(first.references[utterance], folder.hypotheses[utterance]) for utterance in first.scored]
        for folder in folders
    ]
    rows = [
        Row(folder, bootstrap.interval(column), _versus(folders, slots, column, bootstrap) if column else None)
        for column, folder in enumerate(folders)
    ]
    return Comparison(rows, options, counts.unit, bootstrap.units)


def _versus(folders: list[DecodeFolder], slots: list[list[ErrorSlots]], column: int, bootstrap: Bootstrap) -> Versus:
    first, other = folders[0], folders[column]
    equal = sum(first.hypotheses[utterance] == other.hypotheses[utterance] for utterance in first.scored)
    matched = matched_pairs(zip(slots[0], slots[column], strict=True))
    return Versus(bootstrap.compare(column, 0), matched, equal)
