"""Ways of training side by side, each by several models: whether they differ by more than chance in training gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import numpy as np

from kaldi_quant.errors import UsageError
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.report.comparison import ComparisonOptions, draw
from kaldi_quant.report.kinds.choice import kind_of
from kaldi_quant.report.kinds.kind import Folder, Kind
from kaldi_quant.report.significance.bootstrap import Interval, PairedDifference


@dataclass(frozen=True)
class TrainingRow(Generic[Folder]):
    """Models that were trained in one way, with different random numbers.

    Attributes:
        name: of the way.
        folders: that of each.
        interval: of their mean score.
        versus: their mean against that of the first way; None for that one.
    """

    name: str
    folders: list[Folder]
    interval: Interval
    versus: PairedDifference | None

    @property
    def values(self) -> list[float]:
        """The score of each."""
        return [folder.value for folder in self.folders]

    @property
    def mean(self) -> float:
        """Of the scores."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float | None:
        """The standard deviation of the scores; None where there is one model alone."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None


@dataclass(frozen=True)
class TrainingComparison(Generic[Folder]):
    """What the table shows.

    Attributes:
        rows: the ways of training, in the order given; the first is what the others are compared with.
        options: how they were compared.
        kind: of results.
        unit: what was drawn of the test set: "utterances", "speakers", "files".
        units: how many there are.
    """

    rows: list[TrainingRow[Folder]]
    options: ComparisonOptions
    kind: Kind[Folder]
    unit: str
    units: int

    @property
    def metric(self) -> Metric:
        """What is compared."""
        return self.rows[0].folders[0].metric


def compare_trainings(
    arguments: Sequence[str], options: ComparisonOptions | None = None, paired: bool = False
) -> TrainingComparison[Any]:
    """Compares ways of training.

    Args:
        arguments: ``NAME=DIR,DIR,…``, decode folders or folders with ``scores.json``; the first is the reference.
        options: how.
        paired: each model was made from the first way's at its place, and is compared with it.

    Raises:
        UsageError: an argument has no name or no folder, or two have one name, or a folder is named twice; or ways
            that are paired have not as many models.
        KaldiQuantError: a folder cannot be read, or was not scored on the same utterances and words as the first, or
            has another metric.
    """
    options = options or ComparisonOptions()
    paths = _named(arguments)
    if paired and len({len(those) for those in paths.values()}) > 1:
        raise UsageError("expected as many models of each way, for each was made from one of the first way")
    kind = kind_of([path for those in paths.values() for path in those], options.fixed, options.rate)
    groups = {name: [kind.read(path, name) for path in those] for name, those in paths.items()}
    folders = [folder for group in groups.values() for folder in group]
    scores, bootstrap = draw(folders, kind, options)
    numbers = iter(range(len(folders)))
    columns = {name: [next(numbers) for _ in group] for name, group in groups.items()}
    first, *others = columns.values()
    versus: list[PairedDifference | None] = [None]
    for those in others:
        differing = scores.count_differing(those, first)
        difference = bootstrap.compare_pairs(those, first) if paired else bootstrap.compare_means(those, first)
        versus.append(kind.limited(difference, differing))
    rows = [
        TrainingRow(name, group, bootstrap.mean_interval(columns[name]), difference)
        for (name, group), difference in zip(groups.items(), versus, strict=True)
    ]
    return TrainingComparison(rows, options, kind, scores.units_are, bootstrap.units)


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
