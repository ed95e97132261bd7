"""Folders of one test set side by side: scores with their intervals, and differences to the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

from kaldi_quant.decode.error_rate import WORDS, ErrorRate
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.report.files.decode_folder import FixedPoint
from kaldi_quant.report.files.folder_names import named_folders
from kaldi_quant.report.kinds.choice import kind_of
from kaldi_quant.report.kinds.kind import Folder, Kind
from kaldi_quant.report.paired_scores import PairedScores, pair_scores
from kaldi_quant.report.significance.bootstrap import DEFAULT_REPLICATIONS, Bootstrap, Interval, check_draws
from kaldi_quant.report.versus import Versus
from kaldi_quant.speed import Speeds


@dataclass(frozen=True)
class ComparisonOptions:
    """How folders are compared.

    Attributes:
        fixed: where in the sweep decode folders stand; by default each at its own best point.
        utt2spk: a file of speakers, which are then drawn in place of utterances.
        replications, seed: of the bootstrap.
        rate: what is compared of decode folders: word or character error rates.

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
class Row(Generic[Folder]):
    """One folder; ``versus`` is None for the first."""

    folder: Folder
    interval: Interval
    versus: Versus | None

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.folder.name

    @property
    def value(self) -> float:
        """Its score."""
        return self.folder.value

    @property
    def is_equal(self) -> bool:
        """Whether it has the same words, or the same values, as the first in all utterances."""
        return self.versus is not None and self.versus.equal_units == len(self.folder.score.per_unit)

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
class Comparison(Generic[Folder]):
    """What the tables show.

    Attributes:
        rows: the folders, in the order given; the first is the reference.
        options: how they were compared.
        kind: of results.
        unit: what was drawn: "utterances", "speakers", "files".
        units: how many there are.
        speeds: of the models, where measured.
    """

    rows: list[Row[Folder]]
    options: ComparisonOptions
    kind: Kind[Folder]
    unit: str
    units: int
    speeds: Speeds | None = None

    @property
    def metric(self) -> Metric:
        """What is compared."""
        return self.rows[0].folder.metric

    @property
    def title(self) -> str:
        """Of tables and plots of scores."""
        return self.kind.title(self.metric)

    @property
    def utterances(self) -> str:
        """What the units of scores are, also where speakers were drawn."""
        return self.rows[0].folder.score.units_are


def compare(arguments: list[str], options: ComparisonOptions | None = None) -> Comparison[Any]:
    """Compares decode folders, or folders with ``scores.json``.

    Args:
        arguments: ``DIR`` or ``NAME=DIR``; the first is the reference.
        options: how.

    Raises:
        KaldiQuantError: a folder cannot be read, or was not scored on the same utterances and words as the first, or
            has another metric.
    """
    options = options or ComparisonOptions()
    paths = named_folders(arguments)
    kind = kind_of(paths.values(), options.fixed, options.rate)
    folders = [kind.read(path, name) for name, path in paths.items()]
    scores, bootstrap = draw(folders, kind, options)
    paired = [
        kind.limited(bootstrap.compare(column, 0), scores.count_differing([column], [0]))
        for column in range(1, len(folders))
    ]
    versus = [None, *kind.versus(folders, paired)]
    rows = [Row(folder, bootstrap.interval(column), versus[column]) for column, folder in enumerate(folders)]
    return Comparison(rows, options, kind, scores.units_are, bootstrap.units)


def draw(folders: Sequence[Folder], kind: Kind[Folder], options: ComparisonOptions) -> tuple[PairedScores, Bootstrap]:
    """The scores of folders unit beside unit, and draws from them.

    Raises:
        KaldiQuantError: folders cannot be compared, or speakers are missing.
    """
    kind.check(folders)
    scores = pair_scores([(str(folder.path), folder.score) for folder in folders], options.utt2spk)
    return scores, Bootstrap(scores.amounts, scores.out_of, options.replications, options.seed, scores.scale)
