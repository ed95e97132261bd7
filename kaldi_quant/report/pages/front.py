"""Size against error rate: which models no other beats in both, and the plot of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kaldi_quant.decode.error_rate import ErrorRate
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
from kaldi_quant.report.pages.scale import BEYOND, WORST_RATE, Points, moved_apart, reach

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def front(rows: Sequence[Row]) -> list[Row]:
    """The rows than which no other is smaller and at least as good, or better and at least as small; by size.

    Rows without a size are left out, and a single model is no front. Error rates are those that were measured, without
    their intervals.
    """
    known = [(row.size, row.folder.result.percent, row) for row in rows if row.size is not None]
    if len(known) < 2:
        return []

    def is_beaten(size: int, percent: float) -> bool:
        return any(
            other_size <= size and other_percent <= percent and (other_size, other_percent) != (size, percent)
            for other_size, other_percent, _ in known
        )

    found = [entry for entry in known if not is_beaten(*entry[:2])]
    return [row for _, _, row in sorted(found, key=lambda entry: entry[:2])]


def size_plot(rows: Sequence[Row], rate: ErrorRate) -> Plot:
    """Every model's size and error rate with its interval, and the front as a staircase."""
    unit, divisor = byte_unit(max(row.size or 0 for row in rows))
    shown = [(position, row, row.size / divisor) for position, row in enumerate(rows) if row.size is not None]
    sizes = [size for *_, size in shown]
    best = front(rows)
    largest = reach([row.folder.result.percent for _, row, _ in shown], WORST_RATE)
    low, high, edge = _levels([row for _, row, _ in shown if row.folder.result.percent <= largest])
    is_beyond = any(row.folder.result.percent > largest for _, row, _ in shown)

    moves = moved_apart(sizes, *size_span(sizes))

    def draw(paper: Paper) -> Figure:
        figure, axes = paper.axes(4.4, legend=len(shown) + 1)
        size_axis(axes, sizes)
        axes.set_ylim(low, high)
        if len(best) > 1:
            steps = [((row.size or 0) / divisor, min(row.folder.result.percent, edge)) for row in best]
            end = axes.get_xlim()[1]
            axes.step(
                [*(size for size, _ in steps), end], [*(percent for _, percent in steps), steps[-1][1]],
                where="post", color=REFERENCE_COLOUR, lw=7, alpha=0.16, solid_joinstyle="miter", label="the front",
            )  # fmt: skip
        for (position, row, size), move in zip(shown, moves, strict=True):
            _draw_model(axes, row, size, position, move, is_best=len(best) > 1 and row in best, edge=edge, paper=paper)
        if rows[0].folder.result.percent <= largest:
            mark_line(axes, rows[0].folder.result.percent, horizontal=True)
        axes.set_xlabel(f"model on disk, {unit}")
        axes.set_ylabel(f"{rate.unit} error rate, %")
        paper.legend(figure)
        return figure

    caption = f"Further to the left is smaller, further down is better; lines: 95 % intervals. {_named(best, rate)}"
    if is_beyond:
        caption += BEYOND
    if any(moves):
        caption += " Models of about the same size stand side by side."
    return make_plot(f"{rate.unit.capitalize()} error rate and size", caption, "size", draw)


def _levels(rows: Sequence[Row]) -> tuple[float, float, float]:
    """The ends of the axis of error rates, and where models are drawn that lie beyond it."""
    low = min(min(row.interval.low, row.folder.result.percent) for row in rows)
    high = max(max(row.interval.high, row.folder.result.percent) for row in rows)
    air = 0.08 * (high - low) or 0.5
    return low - air, high + 2.5 * air, high + air


def _draw_model(
    axes: Axes, row: Row, size: float, position: int, move: Points, is_best: bool, edge: float, paper: Paper
) -> None:
    from matplotlib.transforms import offset_copy

    percent, colour = row.folder.result.percent, colour_of(position)
    place = offset_copy(axes.transData, axes.get_figure(root=True), x=move, units="points")
    if percent > edge:
        # Beside the mark, on the side that has room.
        is_left = axes.transData.transform((size, edge))[0] < axes.transAxes.transform((0.5, 0))[0]
        aside: Any = {"ha": "left" if is_left else "right", "va": "center", "fontsize": 8.5}
        axes.annotate(
            f"↑ {percent:.2f}", (size, edge), (move + (9 if is_left else -9), 0), textcoords="offset points", **aside
        )
    else:
        ends = [row.interval.low, row.interval.high]
        axes.plot([size, size], ends, color=colour, lw=1.6, alpha=0.55, solid_capstyle="butt", transform=place)
    black: dict[str, Any] = {"mec": "#111111", "mew": 1.4} if is_best else {}
    style: dict[str, Any] = {"color": colour, "ms": 8, "ls": "", "zorder": 3, "transform": place, **black}
    axes.plot(size, min(percent, edge), marker_of(position), label=paper.shortened(row.name), **style)


def _named(best: Sequence[Row], rate: ErrorRate) -> str:
    """Which models are on the front, in words."""
    unit, divisor = byte_unit(max((row.size or 0 for row in best), default=0))
    names = [f"{row.name} ({(row.size or 0) / divisor:.3g} {unit}, {row.folder.result.percent:.2f} %)" for row in best]
    if len(names) == 1:
        return f"{names[0]} is the smallest and has the lowest {rate.unit} error rate."
    return (
        f"The front, with black edges: models that no other beats in both, {'; '.join(names)}. Where intervals "
        "overlap, a model off the front may be as good."
    )
