"""Size against the score: which models no other beats in both, and the plot of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kaldi_quant.metrics.metric import Metric
from kaldi_quant.report.comparison import Row
from kaldi_quant.report.pages.plot_style import (
    REFERENCE_COLOUR,
    Paper,
    Plot,
    byte_unit,
    colour_of,
    make_plot,
    mark_line,
    marker_of,
    size_axis,
    size_span,
)
from kaldi_quant.report.pages.scale import BEYOND, Points, beyond, moved_apart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def front(rows: Sequence[Row]) -> list[Row]:
    """The rows than which no other is smaller and at least as good, or better and at least as small; by size.

    Rows without a size are left out, and a single model is no front. Scores are those that were measured, without
    their intervals.
    """
    known = [(row.size, row.folder.metric.loss(row.value), row) for row in rows if row.size is not None]
    if len(known) < 2:
        return []

    def is_beaten(size: int, loss: float) -> bool:
        return any(
            other_size <= size and other_loss <= loss and (other_size, other_loss) != (size, loss)
            for other_size, other_loss, _ in known
        )

    found = [entry for entry in known if not is_beaten(*entry[:2])]
    return [row for _, _, row in sorted(found, key=lambda entry: entry[:2])]


def size_plot(rows: Sequence[Row], metric: Metric) -> Plot:
    """Every model's size and score with its interval, and the front as a staircase."""
    unit, divisor = byte_unit(max(row.size or 0 for row in rows))
    shown = [(position, row, row.size / divisor) for position, row in enumerate(rows) if row.size is not None]
    sizes = [size for *_, size in shown]
    best = front(rows)
    is_far = beyond([row for _, row, _ in shown], metric)
    low, high, edge = _levels([row for _, row, _ in shown if not is_far(row)], metric)

    moves = moved_apart(sizes, *size_span(sizes))

    def draw(paper: Paper) -> Figure:
        figure, axes = paper.axes(4.4, legend=len(shown) + 1)
        size_axis(axes, sizes)
        axes.set_ylim(low, high)
        if len(best) > 1:
            steps = [((row.size or 0) / divisor, _clipped(row.value, edge, metric)) for row in best]
            end = axes.get_xlim()[1]
            axes.step(
                [*(size for size, _ in steps), end], [*(value for _, value in steps), steps[-1][1]],
                where="post", color=REFERENCE_COLOUR, lw=7, alpha=0.16, solid_joinstyle="miter", label="the front",
            )  # fmt: skip
        for (position, row, size), move in zip(shown, moves, strict=True):
            is_best = len(best) > 1 and row in best
            _draw_model(axes, row, size, position, move, is_best=is_best, edge=edge, paper=paper)
        if not is_far(rows[0]):
            mark_line(axes, rows[0].value, horizontal=True)
        axes.set_xlabel(f"model on disk, {unit}")
        axes.set_ylabel(metric.axis)
        paper.legend(figure)
        return figure

    better = "down" if metric.better == "lower" else "up"
    caption = f"Further to the left is smaller, further {better} is better; lines: 95 % intervals. "
    caption += _named(best, metric)
    if any(is_far(row) for _, row, _ in shown):
        caption += BEYOND
    if any(moves):
        caption += " Models of about the same size stand side by side."
    return make_plot(f"{metric.heading} and size", caption, "size", draw)


def _levels(rows: Sequence[Row], metric: Metric) -> tuple[float, float, float]:
    """The ends of the axis of scores, and where models are drawn that lie beyond it, on the side of the bad ones."""
    low = min(min(row.interval.low, row.value) for row in rows)
    high = max(max(row.interval.high, row.value) for row in rows)
    air = 0.08 * (high - low) or 0.5
    if metric.better == "higher":
        return low - 2.5 * air, high + air, low - air
    return low - air, high + 2.5 * air, high + air


def _clipped(value: float, edge: float, metric: Metric) -> float:
    """A value that is no worse than the edge."""
    return min(value, edge) if metric.better == "lower" else max(value, edge)


def _draw_model(
    axes: Axes, row: Row, size: float, position: int, move: Points, is_best: bool, edge: float, paper: Paper
) -> None:
    from matplotlib.transforms import offset_copy

    value, colour, metric = row.value, colour_of(position), row.folder.metric
    place = offset_copy(axes.transData, axes.get_figure(root=True), x=move, units="points")
    if metric.loss(value) > metric.loss(edge):
        # Beside the mark, on the side that has room.
        is_left = axes.transData.transform((size, edge))[0] < axes.transAxes.transform((0.5, 0))[0]
        aside: Any = {"ha": "left" if is_left else "right", "va": "center", "fontsize": 8.5}
        said = f"{'↑' if value > edge else '↓'} {metric.number(value)}"
        axes.annotate(said, (size, edge), (move + (9 if is_left else -9), 0), textcoords="offset points", **aside)
    else:
        ends = [row.interval.low, row.interval.high]
        axes.plot([size, size], ends, color=colour, lw=1.6, alpha=0.55, solid_capstyle="butt", transform=place)
    black: dict[str, Any] = {"mec": "#111111", "mew": 1.4} if is_best else {}
    style: dict[str, Any] = {"color": colour, "ms": 8, "ls": "", "zorder": 3, "transform": place, **black}
    axes.plot(size, _clipped(value, edge, metric), marker_of(position), label=paper.shortened(row.name), **style)


def _named(best: Sequence[Row], metric: Metric) -> str:
    """Which models are on the front, in words."""
    unit, divisor = byte_unit(max((row.size or 0 for row in best), default=0))
    names = [f"{row.name} ({(row.size or 0) / divisor:.3g} {unit}, {metric.shown(row.value)})" for row in best]
    if len(names) == 1:
        extreme = "lowest" if metric.better == "lower" else "highest"
        return f"{names[0]} is the smallest and has the {extreme} {metric.title}."
    return (
        f"The front, with black edges: models that no other beats in both, {'; '.join(names)}. Where intervals "
        "overlap, a model off the front may be as good."
    )
