"""Several series of values over a common axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kaldi_quant.report.pages.plot_style import Paper, Plot, colour_of, make_plot, marker_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Lines:
    """Series of points.

    Attributes:
        title: of the plot.
        caption: what is shown.
        across, up: what the axes are.
        series: name → its points, from left to right.
    """

    title: str
    caption: str
    across: str
    up: str
    series: Mapping[str, Sequence[tuple[float, float]]]


def lines_plot(content: Lines, prefix: str) -> Plot:
    """The plot; series have the colours of rows in tables in their order.

    Args:
        content: what is drawn.
        prefix: of the names inside it: no other plot of the page may have it.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """

    def draw(paper: Paper) -> Figure:
        figure, axes = paper.axes(3.6, legend=len(content.series))
        for place, (name, points) in enumerate(content.series.items()):
            style: dict[str, Any] = {"color": colour_of(place), "ms": 5, "lw": 1.4, "label": paper.shortened(name)}
            axes.plot([x for x, _ in points], [y for _, y in points], marker_of(place) + "-", **style)
        axes.set_xlabel(content.across)
        axes.set_ylabel(content.up)
        paper.legend(figure)
        return figure

    return make_plot(content.title, content.caption, prefix, draw)
