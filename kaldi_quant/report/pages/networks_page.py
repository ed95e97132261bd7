"""Several networks on one page, each in all the forms that were made of it: scores, costs, sensitivity, confusions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kaldi_quant.report.cells import Table
from kaldi_quant.report.comparison import Comparison
from kaldi_quant.report.pages.comparison_page import origins, result_sections
from kaldi_quant.report.pages.heat_map import HeatMap, heat_map
from kaldi_quant.report.pages.html import Section, document, figure, heading, paragraph, table
from kaldi_quant.report.pages.plot_style import OTHER_COLOUR, Paper, Plot, annotate, make_plot, renamed
from kaldi_quant.report.pages.plots import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Bars:
    """Values by name, drawn as bars.

    Args:
        title: of the plot.
        caption: what is shown.
        axis: what values are.
        values: by name.
    """

    title: str
    caption: str
    axis: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class NetworkPart:
    """What the page tells of one network.

    Args:
        name: of the network.
        comparison: of its forms; the first is in float.
        costs: of these, as a table.
        about_costs: how they were measured.
        bars: further plots.
        confusions: of the float network, where it classifies.
        about: what made each form, and its other scores.
    """

    name: str
    comparison: Comparison
    costs: Table
    about_costs: str
    bars: Sequence[Bars] = field(default_factory=list)
    confusions: HeatMap | None = None
    about: Table | None = None


def networks_page(title: str, subtitle: str, parts: Sequence[NetworkPart]) -> str:
    """The page.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    return document(title, subtitle, [Section(part.name, _content(part)) for part in parts])


def _content(part: NetworkPart) -> str:
    shown = {kind: renamed(plot, part.name) for kind, plot in plots(part.comparison).items()}
    places = {row.name: place for place, row in enumerate(part.comparison.rows)}
    sections = result_sections(part.comparison, shown)
    sections.append(Section("Costs", paragraph(part.about_costs) + table(part.costs, places)))
    for number, bars in enumerate(part.bars):
        sections.append(Section(bars.title, figure(_plot(bars, f"{part.name}-bars-{number}"))))
    if part.confusions:
        sections.append(Section("Confusions in float", heat_map(part.confusions)))
    if part.about:
        sections.append(Section("Made by", table(part.about, places)))
    sections.append(Section("What was compared", origins(part.comparison)))
    return "\n".join(heading(section.title) + section.content for section in sections)


def _plot(bars: Bars, prefix: str) -> Plot:
    def draw(paper: Paper) -> Figure:
        drawn, axes = paper.axes(0.9 + 0.28 * len(bars.values))
        for place, value in enumerate(bars.values.values()):
            axes.barh(place, value, height=0.6, color=OTHER_COLOUR)
            annotate(axes, f"{value:.3g}", max(value, 0.0), place)
        paper.name_rows(axes, list(bars.values))
        low, high = axes.get_xlim()
        axes.set_xlim(low, high + paper.room * (high - low))
        axes.set_xlabel(bars.axis)
        return drawn

    return make_plot(bars.title, bars.caption, prefix, draw)
