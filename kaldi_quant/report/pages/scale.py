"""How far the axes of plots reach, and where models stand that would hide each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kaldi_quant.metrics.metric import Metric
    from kaldi_quant.report.comparison import Row

Points = float

#: Models with differences of more than so many times the typical one are drawn at the edge of the scale.
WIDEST_DIFFERENCE = 6.0
#: What the caption then says.
BEYOND = " Arrows: beyond the scale, so that the others can be told apart."

# The same of error rates.
_WORST_RATE = 2.5
# A share of an axis within which models hide each other, and how far they are then moved apart.
_TOO_NEAR = 0.02
_APART: Points = 11.0


def reach(values: Sequence[float], factor: float) -> float:
    """The largest value that is drawn to scale, so that one bad model does not flatten the others.

    Values beyond ``factor`` times the middle one, the lower of two middle ones, are to be drawn at the edge.

    Example:
        >>> reach([14.5, 14.8, 15.0, 100.0], 2.5), reach([14.5, 97.0], 2.5), reach([14.5, 20.0], 2.5)
        (15.0, 14.5, 20.0)
    """
    known = sorted(value for value in values if value > 0)
    if not known:
        return 0.0
    middle = known[(len(known) - 1) // 2]
    return max(value for value in known if value <= factor * middle)


def beyond(rows: Sequence[Row], metric: Metric) -> Callable[[Row], bool]:
    """Tells which rows are so much worse than others that they are drawn at the edge.

    Where lower values are better, zero is the best, and what counts is how many times the typical value one is. Where
    higher values are better, what counts is the distance of the worse end of an interval from the best value.

    Args:
        rows: those of the plot.
        metric: what is drawn.
    """
    best = max(row.value for row in rows)

    def badness(row: Row) -> float:
        return row.value if metric.better == "lower" else best - min(row.value, row.interval.low)

    largest = reach([badness(row) for row in rows], _WORST_RATE if metric.better == "lower" else WIDEST_DIFFERENCE)
    return lambda row: badness(row) > largest


def moved_apart(values: Sequence[float], span: tuple[float, float], is_log: bool) -> list[Points]:
    """How far to move each of some marks along an axis, so that those of about the same value stand side by side.

    Args:
        values: where they stand.
        span: the ends of the axis.
        is_log: whether the axis is logarithmic.
    """
    scale = math.log if is_log else float
    low, high = map(scale, span)
    order = sorted(range(len(values)), key=lambda index: values[index])
    groups: list[list[int]] = []
    for index in order:
        near = groups and scale(values[index]) - scale(values[groups[-1][-1]]) <= _TOO_NEAR * (high - low)
        if near:
            groups[-1].append(index)
        else:
            groups.append([index])
    moves = [0.0] * len(values)
    for group in groups:
        # In the order in which the models were given.
        for place, index in enumerate(sorted(group)):
            moves[index] = _APART * (place - (len(group) - 1) / 2)
    return moves
