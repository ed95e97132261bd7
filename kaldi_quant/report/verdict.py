"""What came of a comparison, in a sentence for each model: how much smaller, how much faster, and at what loss."""

from __future__ import annotations

from dataclasses import dataclass

from kaldi_quant.metrics.metric import Metric
from kaldi_quant.report.comparison import Comparison, Row
from kaldi_quant.report.significance.bootstrap import Interval

# Ratios nearer to 1 are called the same.
_SAME = 1.05
_SWING = 1.5


@dataclass(frozen=True)
class Verdict:
    """The sentence about one model.

    Attributes:
        name: the model's row.
        sentence: without the metric's name, which is to be found in the rows of results alone.
    """

    name: str
    sentence: str


def verdicts(comparison: Comparison) -> list[Verdict]:
    """One for each row but the first, which is what the others are compared with."""
    first, *others = comparison.rows
    return [_verdict(row, first, comparison) for row in others]


def lines(comparison: Comparison) -> list[str]:
    """The verdicts, each with its model's name."""
    return [f"{verdict.name}: {verdict.sentence}" for verdict in verdicts(comparison)]


def _verdict(row: Row, first: Row, comparison: Comparison) -> Verdict:
    parts = [_size(row, first), _speed(row, first, comparison), _loss(row, comparison)]
    return Verdict(row.name, ", ".join(filter(None, parts)))


def _size(row: Row, first: Row) -> str:
    """``7.3 times smaller than float``; nothing where a size is not known."""
    if not row.inference_bytes or not first.inference_bytes:
        return ""
    ratio = first.inference_bytes / row.inference_bytes
    if 1 / _SAME < ratio < _SAME:
        return f"as large as {first.name}"
    return (
        f"{_times(ratio)} smaller than {first.name}" if ratio > 1 else f"{_times(1 / ratio)} larger than {first.name}"
    )


def _speed(row: Row, first: Row, comparison: Comparison) -> str:
    """``12.7 times as fast``; nothing where it was not measured relative to the first row."""
    speeds = comparison.speeds or {}
    if row.name not in speeds or next(iter(speeds)) != first.name:
        return ""
    speed = speeds[row.name]
    ratio = speed.ratio
    said = "as fast" if 1 / _SAME < ratio < _SAME else f"{_times(ratio)} as fast" if ratio > 1 else ""
    said = said or f"{_times(1 / ratio)} slower"
    # What swings this much was measured on a busy machine.
    swings = speed.highest > _SWING * speed.lowest
    return f"{said} ({speed.lowest:.2g} to {speed.highest:.2g} over the rounds)" if swings else said


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times" if ratio < 100 else f"{ratio:.0f} times"


def _loss(row: Row, comparison: Comparison) -> str:
    versus, metric = row.versus, comparison.metric
    assert versus is not None
    if row.is_equal:
        return f"no loss: {comparison.kind.same} in all {comparison.utterances}"
    difference = versus.paired.difference
    shown = metric.shown_difference(difference)
    if versus.significant is None:
        return f"{shown}, significant by one test and not by another"
    if versus.significant:
        return f"a significant {'loss' if metric.loss(difference) > 0 else 'gain'} ({shown})"
    return f"no significant loss ({shown}{_worst(versus.paired.interval, metric)})"


def _worst(interval: Interval, metric: Metric) -> str:
    """``; up to +0.52 cannot be ruled out``; nothing where the worst end of the interval is no loss."""
    end, how = (interval.high, "up") if metric.better == "lower" else (interval.low, "down")
    return f"; {how} to {metric.number(end, '+')} cannot be ruled out" if metric.loss(end) > 0 else ""
