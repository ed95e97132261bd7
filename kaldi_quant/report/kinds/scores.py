"""Scores of any task that has a value for each utterance or file: speech enhancement, separation, keywords."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kaldi_quant.metrics.metric import Metric
from kaldi_quant.report.files.score_folder import ScoreFolder, read_score_folder
from kaldi_quant.report.numbers import p_value
from kaldi_quant.report.significance.bootstrap import PairedDifference
from kaldi_quant.report.versus import Versus


@dataclass(frozen=True)
class Scores:
    """Scores of folders with ``scores.json``; the methods are those of ``Kind``."""

    folder_noun = "folder"
    same = "the same values"
    plot_prefix = "scores"
    has_matched_pairs = False
    tests = "the paired bootstrap"

    @property
    def terms(self) -> list[str]:
        return []

    def read(self, path: Path, name: str) -> ScoreFolder:
        return read_score_folder(path, name)

    def check(self, folders: Sequence[ScoreFolder]) -> None:
        pass

    def limited(self, paired: PairedDifference, differing: int) -> PairedDifference:
        """The p-value of the bootstrap, but no smaller one than the sign test can have.

        Draws from a few differences of one sign all have that sign, although chance gives it easily.
        """
        return replace(paired, p_value=max(paired.p_value, min(1.0, 2.0 ** (1 - differing))))

    def versus(self, folders: Sequence[ScoreFolder], paired: Sequence[PairedDifference]) -> list[Versus]:
        first, *others = folders
        return [
            Versus(difference, None, first.score.count_equal(folder.score))
            for folder, difference in zip(others, paired, strict=True)
        ]

    def title(self, metric: Metric) -> str:
        return metric.heading

    def about_tests(self, unit: str) -> list[str]:
        return [f"p is never below 2 / 2^n, where n {unit} differ: so often chance alone gives all of them one sign"]

    def about_values(self, metric: Metric) -> str:
        return f"{metric.better} values are better"

    def line(self, folder: ScoreFolder) -> str:
        return f"{folder.metric.name} {folder.metric.number(folder.value)} [ {_sums(folder)} ] {folder.score_file}"

    def headings(self, first: ScoreFolder) -> list[str]:
        return [first.metric.column]

    def cells(self, folder: ScoreFolder) -> list[str]:
        return [folder.metric.number(folder.value)]

    def test_set(self, folder: ScoreFolder) -> str:
        return f"{len(folder.score.per_unit)} {folder.score.units_are}"

    def notes(self, folder: ScoreFolder) -> list[str]:
        made_by = folder.score.made_by
        return [f"{folder.metric.name} as {made_by} computes it"] if made_by else []

    def p_values(self, versus: Versus) -> str:
        return f"p {p_value(versus.paired.p_value)} by bootstrap"

    def settings_json(self) -> dict[str, Any]:
        return {}

    def metric_json(self, metric: Metric) -> dict[str, Any]:
        return {"metric": asdict(metric)}

    def folder_json(self, folder: ScoreFolder) -> dict[str, Any]:
        return {"value": folder.value, "units": len(folder.score.per_unit)}

    def versus_json(self, versus: Versus) -> dict[str, Any]:
        return {"significant": versus.significant, "equal_units": versus.equal_units}


def _sums(folder: ScoreFolder) -> str:
    """``824 utterances``, or ``12 / 400 in 400 examples``."""
    score = folder.score
    counted = f"{len(score.per_unit)} {score.units_are}"
    return counted if score.out_of is None else f"{sum(score.per_unit.values()):.10g} / {score.total:.10g} in {counted}"
