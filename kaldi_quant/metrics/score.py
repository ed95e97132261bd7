"""A score of a test set, and what each of its units contributes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from kaldi_quant.errors import DataError
from kaldi_quant.metrics.metric import Metric

# No measure has values beyond these; sums of as many as fit into memory stay finite.
_LARGEST = 1e100


@dataclass(frozen=True)
class Score:
    """A mean over units, or a ratio of sums over units.

    Without ``out_of``, the score is ``scale`` times the mean of what is in ``per_unit``: SI-SDR is the mean over
    utterances. With it, the score is ``scale`` times the sum of ``per_unit`` over the sum of ``out_of``: a word error
    rate is 100 times the errors of all utterances over the words of all of them. ``scale`` is the metric's.

    Attributes:
        metric: what is measured.
        per_unit: unit → its value, or its part of the upper sum.
        out_of: unit → its part of the lower sum, which may be 0; None for a mean.
        units_are: what units are, in the plural: "utterances", "files".
        made_by: the program that measured, where programs differ in what they find; else empty.

    Raises:
        DataError: there is no unit, a number is not finite, a part of the lower sum is negative, all of them are 0, or
            they are of other units than ``per_unit``; names the metric and the unit.

    Example:
        >>> Score(Metric("SI-SDR", "dB", "higher"), {"a": 10.0, "b": 14.0}).value
        12.0
        >>> Score(Metric("WER", "%", "lower", scale=100), {"a": 1, "b": 0}, {"a": 3, "b": 1}).value
        25.0
    """

    metric: Metric
    per_unit: Mapping[str, float]
    out_of: Mapping[str, float] | None = None
    units_are: str = "utterances"
    made_by: str = ""

    def __post_init__(self) -> None:
        if not self.per_unit:
            raise DataError(f"{self.metric.name}: expected at least one unit, found none")
        object.__setattr__(self, "per_unit", self._finite(self.per_unit))
        if not self.units_are.isprintable() or not self.units_are.strip():
            raise DataError(f"{self.metric.name}: expected what its units are, found {self.units_are!r}")
        if not self.made_by.isprintable():
            raise DataError(f"{self.metric.name}: expected what measured it, found {self.made_by!r}")
        if self.out_of is not None:
            self._check_units(self.out_of)
            object.__setattr__(self, "out_of", self._finite({unit: self.out_of[unit] for unit in self.per_unit}))
            self._check_parts(self.out_of)
        if not math.isfinite(self.value):
            raise DataError(f"{self.metric.name}: expected numbers of a usual size, found a ratio without end")

    def _finite(self, values: Mapping[str, float]) -> dict[str, float]:
        found = {unit: float(value) for unit, value in values.items()}
        for unit, value in found.items():
            if not abs(value) <= _LARGEST:
                raise DataError(f"{self.metric.name} of {shown_name(unit)}: expected a finite number, found {value:g}")
        return found

    def _check_units(self, out_of: Mapping[str, float]) -> None:
        for ones, others, problem in (
            (self.per_unit, out_of, "there is a value, but not what it is out of"),
            (out_of, self.per_unit, "there is what its value is out of, but no value"),
        ):
            lacking = [unit for unit in ones if unit not in others]
            if lacking:
                raise DataError(f"{self.metric.name} of {shown_name(lacking[0])} ({len(lacking)} in all): {problem}")

    def _check_parts(self, out_of: Mapping[str, float]) -> None:
        for unit, part in out_of.items():
            if part < 0:
                raise DataError(
                    f"{self.metric.name} of {shown_name(unit)}: expected to be out of 0 or more, found {part:g}"
                )
        if not any(out_of.values()):
            raise DataError(f"{self.metric.name}: all {self.units_are} are out of 0, so that there is no ratio")

    @property
    def total(self) -> float:
        """The lower sum; of a mean the number of units."""
        return len(self.per_unit) if self.out_of is None else math.fsum(self.out_of.values())

    @property
    def value(self) -> float:
        """The score."""
        return self.metric.scale * math.fsum(self.per_unit.values()) / self.total

    def count_equal(self, other: Score) -> int:
        """In how many units another score has the same value."""
        return sum(other.per_unit.get(unit) == value for unit, value in self.per_unit.items())


def shown_name(unit: str) -> str:
    """A unit's name for messages, on one line whatever it holds."""
    return unit if unit.isprintable() else ascii(unit)
