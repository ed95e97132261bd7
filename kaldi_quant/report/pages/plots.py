"""The plots of a comparison: error rates, differences, layers and speed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
from kaldi_quant.report.speed import Speeds

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plots(comparison: Comparison) -> dict[str, Plot]:
    """All plots for which there is something to show, by their titles.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    rows = comparison.rows
    found = [_error_rates(rows)]
    if len(rows) > 1:
        found.append(_differences(rows))
    if sum(row.size is not None for row in rows) > 1:
        found.append(size_plot(rows))
    if any(layer.sqnr is not None for row in rows for layer in layers_of(row)):
        found.append(_layers(rows))
    if comparison.speeds and len(comparison.speeds) > 1:
        found.append(_speeds(comparison.speeds, rows))
    return {plot.title: plot for plot in found}


def _error_rates(rows: Sequence[Row]) -> Plot:
    def draw(paper: Paper) -> Figure:
        figure, axes = paper.axes(0.9 + 0.38 * len(rows))
        for position, row in enumerate(rows):
            percent, colour = row.folder.result.percent, colour_of(position)
            axes.barh(position, percent, height=0.58, color=colour, alpha=0.28)
            ends = [row.interval.low, row.interval.high]
            axes.plot(ends, [position, position], color=colour, solid_capstyle="butt", lw=2.4)
            axes.plot(percent, position, "o", color=colour, ms=6)
            annotate(axes, f"{percent:.2f}", max(row.interval.high, percent), position)
        mark_line(axes, rows[0].folder.result.percent)
        largest = max(max(row.interval.high, row.folder.result.percent) for row in rows)
        axes.set_xlim(0, (1 + paper.room) * largest or 1)
        paper.name_rows(axes, [row.name for row in rows])
        axes.set_xlabel("word error rate, %")
        return figure

    caption = "Lines: 95 % intervals."
    if len(rows) > 1:
        caption = (
            "Lines: 95 % intervals of each alone. They overlap more than the differences are uncertain, because all "
            "systems were tested on the same utterances: see the differences."
        )
    return make_plot("Word error rates", caption, "wer", draw)


def _differences(rows: Sequence[Row]) -> Plot:
    def draw(paper: Paper) -> Figure:
        figure, axes = paper.axes(0.9 + 0.38 * (len(rows) - 1))
        for position, row in enumerate(rows[1:]):
            if row.versus is None:
                continue
            paired, colour = row.versus.paired, colour_of(position + 1)
            ends = [paired.interval.low, paired.interval.high]
            axes.plot(ends, [position, position], color=colour, solid_capstyle="butt", lw=2.4)
            face = colour if row.versus.significant else "white"
            axes.plot(paired.difference, position, "o", color=colour, mfc=face, mew=1.6, ms=7)
            annotate(axes, f"{paired.difference:+.2f}", max(paired.interval.high, paired.difference), position)
        mark_line(axes, 0)
        low, high = axes.get_xlim()
        axes.set_xlim(low, high + paper.room * (high - low))
        paper.name_rows(axes, [row.name for row in rows[1:]])
        to = "" if paper.is_narrow else f" to {paper.shortened(rows[0].name)}"
        axes.set_xlabel(f"difference{to}, % absolute")
        return figure

    caption = (
        f"Word error rate minus that of {rows[0].name}. Lines: 95 % intervals of the paired bootstrap; filled dots: "
        "significant."
    )
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
