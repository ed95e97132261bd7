"""A page on which one can listen: networks with their scores, tables, plots, and recordings to be heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kaldi_quant.report.cells import Table
from kaldi_quant.report.comparison import Comparison
from kaldi_quant.report.pages.comparison_page import origins, result_sections
from kaldi_quant.report.pages.html import Section, document, figure, folded, heading, paragraph, table
from kaldi_quant.report.pages.lines import Lines, lines_plot
from kaldi_quant.report.pages.listening import Recording, listening
from kaldi_quant.report.pages.plot_style import renamed
from kaldi_quant.report.pages.plots import plots


@dataclass(frozen=True)
class TitledTable:
    """A table with what it shows.

    Attributes:
        title: of the table.
        about: what it shows.
        content: its cells.
        is_folded: whether it is shown when its title is clicked.
    """

    title: str
    about: str
    content: Table
    is_folded: bool = False


@dataclass(frozen=True)
class HeardPart:
    """What the page tells of one network.

    Attributes:
        name: of the network.
        comparison: of its forms; the first is in float.
        tables: further ones.
        lines: plots of scores.
        recordings: to be heard.
    """

    name: str
    comparison: Comparison
    tables: Sequence[TitledTable] = field(default_factory=list)
    lines: Sequence[Lines] = field(default_factory=list)
    recordings: Sequence[Recording] = field(default_factory=list)


def listening_page(title: str, subtitle: str, parts: Sequence[HeardPart]) -> str:
    """The page. It loads nothing: audio and pictures lie within.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    return document(title, subtitle, [Section(part.name, _content(part)) for part in parts], media=True)


def _content(part: HeardPart) -> str:
    shown = {kind: renamed(plot, part.name) for kind, plot in plots(part.comparison).items()}
    places = {row.name: place for place, row in enumerate(part.comparison.rows)}
    sections = result_sections(part.comparison, shown)
    for number, lines in enumerate(part.lines):
        sections.append(Section(lines.title, figure(lines_plot(lines, f"{part.name}-lines-{number}"))))
    for each in part.tables:
        content = table(each.content, places)
        content = folded("The table", content) if each.is_folded else content
        sections.append(Section(each.title, paragraph(each.about) + content))
    if part.recordings:
        sections.append(Section("To be heard", listening(part.recordings)))
    sections.append(Section("What was compared", origins(part.comparison)))
    return "\n".join(heading(section.title) + section.content for section in sections)
