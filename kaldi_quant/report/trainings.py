"""Ways of training side by side, each by several models: whether they differ by more than chance in training gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kaldi_quant.errors import UsageError
from kaldi_quant.report.comparison import ComparisonOptions
from kaldi_quant.report.error_counts import count_errors
from kaldi_quant.report.files.decode_folder import DecodeFolder, read_folder
from kaldi_quant.report.significance.bootstrap import Bootstrap, Interval, PairedDifference, Percent


@dataclass(frozen=True)
class TrainingRow:
    """Models that were trained in one way, with different random numbers.

    Attributes:
        name: of the way.
        folders: the decode folder of each.
        interval: of their mean word error rate.
        versus: their mean against that of the first way; None for that one.
    """

    name: str
    folders: list[DecodeFolder]
    interval: Interval
    versus: PairedDifference | None

    @property
    def rates(self) -> list[Percent]:
        """The word error rate of each."""
        return [folder.result.percent for folder in self.folders]

    @property
    def mean(self) -> Percent:
        """Of the word error rates."""
        return float(np.mean(self.rates))

    @property
    def deviation(self) -> Percent | None:
        """The standard deviation of the word error rates; None where there is one model alone."""
        return float(np.std(self.rates, ddof=1)) if len(self.rates) > 1 else None


@dataclass(frozen=True)
class TrainingComparison:
    """What the table shows.

    Attributes:
        rows: the ways of training, in the order given; the first is what the others are compared with.
        options: how they were compared.
        unit: what was drawn of the test set: "utterances" or "speakers".
        units: how many there are.
    """

    rows: list[TrainingRow]
    options: ComparisonOptions
    unit: str
    units: int


def compare_trainings(arguments: Sequence[str], options: ComparisonOptions | None = None) -> TrainingComparison:
    """Compares ways of training.

    Args:
        arguments: ``NAME=DIR,DIR,…``, decode folders; the first is the reference.
        options: how.

    Raises:
        UsageError: an argument has no name or no folder, or two have one name, or a folder is named twice.
        KaldiQuantError: a folder cannot be read, or was not scored on the same utterances and words as the first.
    """
    options = options or ComparisonOptions()
    paths = _named(arguments)
    groups = {
        name: [read_folder(path, name, options.fixed, options.rate) for path in those] for name, those in paths.items()
    }
    folders = [folder for group in groups.values() for folder in group]
    counts = count_errors(folders, options.utt2spk)
    bootstrap = Bootstrap(counts.errors, counts.words, options.replications, options.seed)
    numbers = iter(range(len(folders)))
    columns = {name: [next(numbers) for _ in group] for name, group in groups.items()}
    first, *others = columns
    versus = {name: bootstrap.compare_means(columns[name], columns[first]) for name in others}
    rows = [
        TrainingRow(name, group, bootstrap.mean_interval(columns[name]), versus.get(name))
        for name, group in groups.items()
    ]
    return TrainingComparison(rows, options, counts.unit, bootstrap.units)


def _named(arguments: Sequence[str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    seen: set[Path] = set()
    for argument in arguments:
        name, _, folders = argument.partition("=")
        paths = [Path(folder) for folder in folders.split(",") if folder]
        if not name or not paths:
            raise UsageError(f"expected NAME=folder,folder,…, found {argument!r}")
        if name in found:
            raise UsageError(f"two training methods are called {name}")
        for path in paths:
            if path.resolve() in seen:
                raise UsageError(f"{path} is given twice: only different models show the randomness of training")
            seen.add(path.resolve())
        found[name] = paths
    return found
