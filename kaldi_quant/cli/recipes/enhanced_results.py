"""The words of ``run_enhanced.sh`` as text and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kaldi_quant import __version__
from kaldi_quant.cli.recipes.enhanced_table import ABOUT_DIFFERENCES, ABOUT_RATES, NONE, WordTable
from kaldi_quant.report.cells import Table
from kaldi_quant.report.files.decode_folder import FixedPoint
from kaldi_quant.report.pages.html import Section, bullets, document, figure, paragraph, table
from kaldi_quant.report.pages.lines import lines_plot
from kaldi_quant.report.text import table_as_text

_TITLE = "What enhancement does to words"


def results_of(
    folders: Mapping[tuple[str, str], Path], data: Path, fixed: FixedPoint, draws: tuple[int, int]
) -> WordTable:
    """The results of decode folders by enhancement and acoustic model; arguments as of ``WordTable``."""
    return WordTable(folders, data, fixed, *draws)


def written(found: WordTable, fixed: FixedPoint) -> tuple[str, str]:
    """All tables as text, and as a page.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    tables = _tables(found)
    where = (
        f"at {fixed}" if fixed != FixedPoint() else "each at its own best LMWT and WIP, found on these same references"
    )
    points = ", ".join(
        f"{'/'.join(system)} {point.lm_weight} {point.penalty}" for system, point in found.points.items()
    )
    notes = [*found.verdicts(), f"scores are {where}: {points}"]
    text = "".join(f"# {note}\n" for note in notes)
    text += "".join(f"\n# {title}. {about}\n{table_as_text(content)}" for title, about, content in tables)
    sections = [Section("In short", bullets(notes)), Section("By ratio", figure(lines_plot(found.lines(), "words")))]
    sections += [Section(title, paragraph(about) + table(content)) for title, about, content in tables]
    return text, document(_TITLE, f"kaldi_quant {__version__}", sections)


def _tables(found: WordTable) -> list[tuple[str, str, Table]]:
    tables = [("Word error rates", ABOUT_RATES, found.rates())]
    models = dict.fromkeys(model for _, model in found.systems)
    names = dict.fromkeys(name for name, _ in found.systems)
    enhancement = [((name, model), (NONE, model)) for name in names if name != NONE for model in models]
    if enhancement:
        about = f"Each against no enhancement with the same acoustic model. {ABOUT_DIFFERENCES}"
        tables.append(("Enhancement", about, found.effects(enhancement)))
    first, *others = models
    acoustic = [((name, model), (name, first)) for name in names for model in others]
    if acoustic:
        about = f"Each against the acoustic model {first} with the same enhancement. {ABOUT_DIFFERENCES}"
        tables.append(("Acoustic model", about, found.effects(acoustic)))
    return tables
