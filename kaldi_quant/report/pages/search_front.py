"""The front that a search predicted, and what was measured of models that were really quantized."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaldi_quant.report.files.search_file import Cost, SearchResult, TriedModel
from kaldi_quant.report.pages.plot_style import (
    COLOURS,
    REFERENCE_COLOUR,
    Paper,
    Plot,
    byte_unit,
    log_axis,
    make_plot,
    size_axis,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Of divergence.
UNIT = "nats per frame"


def front_plot(search: SearchResult, prefix: str) -> Plot:
    """Bytes against divergence.

    Args:
        search: what was found.
        prefix: of the names inside the plot: no other plot of the page may have it.
    """
    chosen = (search.predicted, search.measured)
    others = [model for model in search.tried if not model.is_chosen]
    shown: list[Cost | TriedModel] = [*search.front, *chosen, *others]
    unit, divisor = byte_unit(max(point.bytes for point in shown))
    # A logarithm has no place for what does not diverge.
    is_log = all(point.divergence > 0 for point in shown)

    def draw(paper: Paper) -> Figure:
        figure, axes = paper.axes(3.8, legend=4)
        size_axis(axes, [point.bytes / divisor for point in shown])
        # A single point is no front: it is what was chosen.
        if len(search.front) > 1:
            axes.plot(
                [point.bytes / divisor for point in search.front], [point.divergence for point in search.front],
                "o-", color=COLOURS[0], ms=3.5, lw=1.4, drawstyle="steps-post", label="the front, as predicted",
            )  # fmt: skip
        if others:
            axes.plot(
                [model.bytes / divisor for model in others], [model.divergence for model in others],
                "s", color=COLOURS[2], ms=5, label="others, as measured",
            )  # fmt: skip
        ends = [(point.bytes / divisor, point.divergence) for point in chosen]
        axes.plot(*zip(*ends, strict=True), color=REFERENCE_COLOUR, lw=1, ls=(0, (2, 2)))
        for (size, divergence), label, face in zip(
            ends, ("chosen, as predicted", "chosen, as measured"), ("white", COLOURS[1]), strict=True
        ):
            axes.plot(size, divergence, "D", color=COLOURS[1], mfc=face, mew=1.8, ms=8, ls="", zorder=3, label=label)
        if is_log:
            log_axis(axes, "y", [point.divergence for point in shown])
        axes.set_xlabel(f"model on disk, {unit}")
        axes.set_ylabel(f"divergence, {UNIT}")
        paper.legend(figure)
        return figure

    caption = (
        "Each dot is the allocation of widths that is predicted to diverge least from float at its size; to the left "
        "is smaller, further down is nearer to float. Predictions add up what each layer costs alone. In networks "
        "that are quantized in the end, layers may make up for errors of those before them."
    )
    return make_plot("The predicted front", caption, prefix, draw)
