"""Size against word error rate: which models no other beats in both, and the plot of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def front(rows: Sequence[Row]) -> list[Row]:
    """The rows than which no other is smaller and at least as good, or better and at least as small; by size.

    Rows without a size are left out. Word error rates are those that were measured, without their intervals.
    """
    known = [(row.size, row.folder.result.percent, row) for row in rows if row.size is not None]

    def is_beaten(size: int, percent: float) -> bool:
        return any(
            other_size <= size and other_percent <= percent and (other_size, other_percent) != (size, percent)
            for other_size, other_percent, _ in known
        )

    found = [entry for entry in known if not is_beaten(*entry[:2])]
    return [row for _, _, row in sorted(found, key=lambda entry: entry[:2])]


def size_plot(rows: Sequence[Row]) -> Plot:
    """Every model's size and word error rate with its interval, and the front as a staircase."""
    unit, divisor = byte_unit(max(row.size or 0 for row in rows))
    shown = [(position, row, row.size / divisor) for position, row in enumerate(rows) if row.size is not None]
    best = front(rows)

    def draw(paper: Paper) -> Figure:
        figure, axes = paper.axes(4.4, legend=len(shown) + 1)
        sizes = [size for *_, size in shown]
        size_axis(axes, sizes)
        steps = [((row.size or 0) / divisor, row.folder.result.percent) for row in best]
        end = axes.get_xlim()[1]
        axes.step(
            [*(size for size, _ in steps), end], [*(percent for _, percent in steps), steps[-1][1]],
            where="post", color=REFERENCE_COLOUR, lw=7, alpha=0.16, solid_joinstyle="miter", label="the front",
        )  # fmt: skip
        for position, row, size in shown:
            colour = colour_of(position)
            ends = [row.interval.low, row.interval.high]
            axes.plot([size, size], ends, color=colour, lw=1.6, alpha=0.55, solid_capstyle="butt")
        for position, row, size in shown:
            edge: dict[str, Any] = {"mec": "#111111", "mew": 1.4} if row in best else {}
            style: dict[str, Any] = {"color": colour_of(position), "ms": 8, "ls": "", **edge}
            axes.plot(
                size, row.folder.result.percent, marker_of(position), label=paper.shortened(row.name), zorder=3, **style
            )
        mark_line(axes, rows[0].folder.result.percent, horizontal=True)
        axes.set_xlabel(f"model on disk, {unit}")
        axes.set_ylabel("word error rate, %")
        paper.legend(figure)
        return figure

    named = "; ".join(
        f"{row.name} ({(row.size or 0) / divisor:.3g} {unit}, {row.folder.result.percent:.2f} %)" for row in best
    )
    caption = (
        "Further to the left is smaller, further down is better; lines: 95 % intervals. The front, with black edges: "
        f"models that no other beats in both, {named}. Where intervals overlap, a model off the front may be as good."
    )
    return make_plot("Word error rate and size", caption, "size", draw)
