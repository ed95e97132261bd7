"""The plots of a comparison: scores, differences, layers and speed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from kaldi_quant.metrics.metric import Metric
from kaldi_quant.report.cells import layer_names, layers_of
from kaldi_quant.report.comparison import Comparison, Row
from kaldi_quant.report.pages.front import size_plot
from kaldi_quant.report.pages.plot_style import (
    OTHER_COLOUR,
    Paper,
    Plot,
    annotate,
    colour_of,
    make_plot,
    mark_line,
    marker_of,
)
from kaldi_quant.report.pages.scale import BEYOND, WIDEST_DIFFERENCE, beyond, reach
from kaldi_quant.speed import Speeds

if TYPE_CHECKING:
    from matplotlib.figure import Figure


#: By what they show.
Plots = dict[Literal["scores", "differences", "size", "layers", "speed"], Plot]


def plots(comparison: Comparison) -> Plots:
    """All plots for which there is something to show.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    rows = comparison.rows
    found: Plots = {"scores": _scores(comparison)}
    if len(rows) > 1:
        found["differences"] = _differences(rows, comparison.metric)
    if sum(row.size is not None for row in rows) > 1:
        found["size"] = size_plot(rows, comparison.metric)
    if any(layer.sqnr is not None for row in rows for layer in layers_of(row)):
        found["layers"] = _layers(rows)
    if comparison.speeds and len(comparison.speeds) > 1:
        found["speed"] = _speeds(comparison.speeds, rows)
    return found


def _scores(comparison: Comparison) -> Plot:
    """Bars from zero, which is always on the axis."""
    rows, metric = comparison.rows, comparison.metric
    is_far = beyond(rows, metric)
    shown = [row for row in rows if not is_far(row)]
    low = min(0.0, *(min(row.interval.low, row.value) for row in shown))
    high = max(0.0, *(max(row.interval.high, row.value) for row in shown))
    edge, arrow = (high, ">") if metric.better == "lower" else (low, "<")
    # Bad values of what is better when higher lie towards zero, and are on the axis unless they are far below it.
    outside = [is_far(row) and (metric.better == "lower" or row.value < low) for row in rows]

    def draw(paper: Paper) -> Figure:
        figure, axes = paper.axes(0.9 + 0.38 * len(rows))
        for position, (row, is_outside) in enumerate(zip(rows, outside, strict=True)):
            value, colour = row.value, colour_of(position)
            axes.barh(position, min(max(value, low), high), height=0.58, color=colour, alpha=0.28)
            if is_outside:
                axes.plot(edge, position, arrow, color=colour, ms=8)
                annotate(axes, metric.number(value), edge, position)
                continue
            ends = [row.interval.low, row.interval.high]
            axes.plot(ends, [position, position], color=colour, solid_capstyle="butt", lw=2.4)
            axes.plot(value, position, "o", color=colour, ms=6)
            annotate(axes, metric.number(value), max(row.interval.high, value), position)
        if not outside[0]:
            mark_line(axes, rows[0].value)
        air = 0.03 * (high - low) if low else 0
        axes.set_xlim(low - air, low + (1 + paper.room) * (high - low) or 1)
        paper.name_rows(axes, [row.name for row in rows])
        axes.set_xlabel(metric.axis)
        return figure

    caption = "Lines: 95 % intervals."
    if len(rows) > 1:
        caption = (
            "Lines: 95 % intervals of each alone. They overlap more than the differences are uncertain, because all "
            f"systems were tested on the same {comparison.utterances}: see the differences."
        )
    caption += BEYOND if any(outside) else ""
    return make_plot(comparison.title, caption, comparison.kind.plot_prefix, draw)


def _differences(rows: Sequence[Row], metric: Metric) -> Plot:
    others = [(position, row, row.versus) for position, row in enumerate(rows) if row.versus is not None]
    extents = [max(map(abs, (versus.paired.interval.low, versus.paired.interval.high))) for *_, versus in others]
    largest = reach(extents, WIDEST_DIFFERENCE)

    def draw(paper: Paper) -> Figure:
        figure, axes = paper.axes(0.9 + 0.38 * len(others))
        for level, ((position, _, versus), extent) in enumerate(zip(others, extents, strict=True)):
            paired, colour = versus.paired, colour_of(position)
            said = metric.number(paired.difference, "+")
            if extent > largest:
                edge = math.copysign(largest, paired.difference)
                axes.plot(edge, level, ">" if edge > 0 else "<", color=colour, ms=8)
                annotate(axes, said, edge, level)
                continue
            ends = [paired.interval.low, paired.interval.high]
            axes.plot(ends, [level, level], color=colour, solid_capstyle="butt", lw=2.4)
            face = colour if versus.significant else "white"
            axes.plot(paired.difference, level, "o", color=colour, mfc=face, mew=1.6, ms=7)
            annotate(axes, said, max(paired.interval.high, paired.difference), level)
        mark_line(axes, 0)
        low, high = axes.get_xlim()
        axes.set_xlim(low, high + paper.room * (high - low))
        paper.name_rows(axes, [row.name for _, row, _ in others])
        to = "" if paper.is_narrow else f" to {paper.shortened(rows[0].name)}"
        axes.set_xlabel(", ".join(filter(None, [f"difference{to}", metric.unit_of_differences])))
        return figure

    caption = (
        f"{metric.heading} minus that of {rows[0].name}. Lines: 95 % intervals of the paired bootstrap; filled dots: "
        "significant."
    )
    caption += " Further to the right is better." if metric.better == "higher" else ""
    caption += BEYOND if any(extent > largest for extent in extents) else ""
    return make_plot("Differences", caption, "differences", draw)


def _layers(rows: Sequence[Row]) -> Plot:
    shown = [
        (position, row) for position, row in enumerate(rows) if any(layer.sqnr is not None for layer in layers_of(row))
    ]
    names = layer_names([row for _, row in shown])
    places = {name: place for place, name in enumerate(names)}

    def draw(paper: Paper) -> Figure:
        figure, axes = paper.axes(1.0 + 0.26 * len(names), legend=len(shown))
        for position, row in shown:
            known = [(layer.sqnr, places[layer.name]) for layer in layers_of(row) if layer.sqnr is not None]
            ratios, levels = zip(*known, strict=True)
            style: dict[str, Any] = {"color": colour_of(position), "ms": 5, "lw": 1.2}
            axes.plot(ratios, levels, marker_of(position) + "-", label=paper.shortened(row.name), **style)
        paper.name_rows(axes, names)
        axes.grid(True, axis="y")
        axes.set_xlabel("signal-to-quantization-noise ratio, dB")
        paper.legend(figure)
        return figure

    caption = "The first layer is on top; further to the right is nearer to float."
    return make_plot("Layers", caption, "layers", draw)


def _speeds(speeds: Speeds, rows: Sequence[Row]) -> Plot:
    colours = {row.name: colour_of(position) for position, row in enumerate(rows)}
    first = next(iter(speeds))

    def draw(paper: Paper) -> Figure:
        figure, axes = paper.axes(0.9 + 0.38 * len(speeds))
        for position, (name, speed) in enumerate(speeds.items()):
            colour = colours.get(name, OTHER_COLOUR)
            axes.barh(position, speed.ratio, height=0.58, color=colour, alpha=0.28)
            axes.plot([speed.lowest, speed.highest], [position, position], color=colour, lw=2.4, solid_capstyle="butt")
            annotate(axes, f"{speed.ratio:.2f}×", speed.highest, position)
        mark_line(axes, 1.0)
        axes.set_xlim(0, (1.05 + paper.room) * max(speed.highest for speed in speeds.values()))
        paper.name_rows(axes, list(speeds))
        label = "relative speed" if paper.is_narrow else f"frames per second, relative to {paper.shortened(first)}"
        axes.set_xlabel(label)
        return figure

    caption = (
        f"Frames per second on one thread, relative to {first}: medians over rounds in which all took turns; lines: "
        "the range over the rounds."
    )
    return make_plot("Speed", caption, "speed", draw)
