"""Activation ranges of integer models, on a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kaldi_quant.report.cells import EMPTY, Table
from kaldi_quant.report.pages.html import figure, folded, heading, paragraph, table
from kaldi_quant.report.pages.plot_style import COLOURS, REFERENCE_COLOUR, Paper, Plot, make_plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kaldi_quant.report.activations import ModelRanges, NodeRange

# Positions on a grid from 0 to 1 are shown within this; what lies further out is marked by an arrow.
_LEFT, _RIGHT = -0.75, 1.75


def activation_part(models: Sequence[ModelRanges]) -> str:
    """The part of the page: the ranges of all models, and of those that were observed how speech lies on them."""
    parts = [table(_ranges(models))]
    for number, model in enumerate(model for model in models if model.seconds is not None):
        content = paragraph(
            f"What was run: the dequantized weights of {model.name}, activations in float, on {model.seconds:.0f} "
            "seconds of speech."
        )
        content += figure(_spread_plot(model, f"activations-{number}")) + folded("The values", table(_spreads(model)))
        # The first is enough to see how it is meant; the others are a click away.
        parts.append(folded(model.name, content) if number else heading(model.name) + content)
    return "".join(parts)


def _ranges(models: Sequence[ModelRanges]) -> Table:
    """A row for each node, a column for each model."""
    by_name = [{node.name: node for node in model.nodes} for model in models]
    names = list(dict.fromkeys(node.name for model in models for node in model.nodes))
    rows = [[name, *(_range(nodes.get(name)) for nodes in by_name)] for name in names]
    return Table(["node", *(model.name for model in models)], rows)


def _range(node: NodeRange | None) -> str:
    """``8 bits [-1.2, 3.4]``."""
    if node is None:
        return EMPTY
    grids = f", {node.columns} grids" if node.columns > 1 else ""
    return f"{node.bits} bits{grids} [{node.low:.3g}, {node.high:.3g}]"


def _spread_plot(model: ModelRanges, prefix: str) -> Plot:
    nodes = [node for node in model.nodes if node.spread is not None]

    def draw(paper: Paper) -> Figure:
        figure, axes = paper.axes(1.0 + 0.3 * len(nodes), legend=0)
        axes.axvspan(0, 1, color=REFERENCE_COLOUR, alpha=0.1, lw=0)
        for place, node in enumerate(nodes):
            assert node.spread is not None
            least, low, median, high, greatest = (min(max(at, _LEFT), _RIGHT) for at in node.spread.positions)
            axes.plot([least, greatest], [place, place], color=COLOURS[0], lw=1.1)
            axes.plot([low, high], [place, place], color=COLOURS[0], lw=5, solid_capstyle="butt")
            axes.plot(median, place, "o", color="white", mec=COLOURS[0], mew=1.4, ms=5.5, zorder=3)
            for end, marker, is_out in (
                (_LEFT, "<", node.spread.positions[0] < _LEFT),
                (_RIGHT, ">", node.spread.positions[-1] > _RIGHT),
            ):
                if is_out:
                    axes.plot(end, place, marker, color=COLOURS[0], ms=5)
            axes.text(
                1.02,
                place,
                _percent(node.spread.beyond),
                transform=axes.get_yaxis_transform(),
                va="center",
                fontsize=8.5,
            )
        outer = [at for node in nodes if node.spread for at in node.spread.positions]
        axes.set_xlim(max(_LEFT, min(outer, default=0.0)) - 0.06, min(_RIGHT, max([1.0, *outer])) + 0.06)
        axes.set_xticks([-0.5, 0, 0.5, 1, 1.5])
        paper.name_rows(axes, [node.name for node in nodes])
        axes.set_xlabel("position on the grid")
        axes.set_title("clipped" if paper.is_narrow else "share that is clipped", loc="right", fontsize=8.5)
        return figure

    caption = (
        "Shaded: the grid, from its low end (0) to its high end (1). Thin lines: from the least to the greatest value, "
        "with an arrow where they go on; thick lines: from 1 % to 99 % of the values; dots: medians. Nodes after a "
        "ReLU begin at zero."
    )
    return make_plot(f"Activations of {model.name}", caption, prefix, draw)


def _spreads(model: ModelRanges) -> Table:
    rows = []
    for node in model.nodes:
        if node.spread is None:
            continue
        values = [f"{value:.3g}" for value in node.spread.values]
        rows.append(
            [node.name, str(node.bits), f"{node.low:.3g}", f"{node.high:.3g}", *values, _percent(node.spread.beyond)]
        )
    headings = ["node", "bits", "grid from", "to", "least", "1 %", "median", "99 %", "greatest", "clipped"]
    return Table(headings, rows)


def _percent(share: float) -> str:
    return "0 %" if share == 0 else f"{100 * share:.2g} %" if share >= 1e-5 else "< 0.001 %"
