"""The report as one HTML page: results, the front, searches, sensitivities, activation ranges and speed."""

from __future__ import annotations

import shlex

from kaldi_quant import __version__
from kaldi_quant.report.pages.activation_part import activation_part
from kaldi_quant.report.pages.comparison_page import (
    folder_count,
    layer_sections,
    origins,
    result_sections,
    speed_sections,
    subtitle,
    titled,
)
from kaldi_quant.report.pages.contents import Contents
from kaldi_quant.report.pages.html import Section, bullets, document, facts, folded
from kaldi_quant.report.pages.plots import plots
from kaldi_quant.report.pages.search_part import search_origin, search_part
from kaldi_quant.report.pages.sensitivity_part import sensitivity_origin, sensitivity_part


def as_html(contents: Contents) -> str:
    """The page.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    comparison = contents.comparison
    figures = plots(comparison) if comparison else {}
    parts = result_sections(comparison, figures) if comparison else []
    parts += [
        Section(f"Search: {search.name}, {search.budget}", search_part(search, f"search-{number}"))
        for number, search in enumerate(contents.searches)
    ]
    parts += [
        Section(f"Sensitivity: {found.name}", sensitivity_part(found, f"sensitivity-{number}"))
        for number, found in enumerate(contents.sensitivities)
    ]
    if contents.ranges:
        parts.append(Section("Activation ranges", activation_part(contents.ranges)))
    if comparison:
        parts += [*layer_sections(comparison, figures), *speed_sections(comparison, figures)]
    parts.append(Section("What was compared", _origins(contents)))
    title = f"Quantized models: {_about(contents)}"
    title = titled(title, comparison) if comparison else title
    return document(title, subtitle(comparison) if comparison else f"kaldi_quant {__version__}", parts)


def _about(contents: Contents) -> str:
    counts = [folder_count(contents.comparison)] if contents.comparison else []
    for number, one, many in (
        (len(contents.searches), "search", "searches"),
        (len(contents.sensitivities), "sensitivity", "sensitivities"),
    ):
        counts += [f"{number} {one if number == 1 else many}"] if number else []
    return ", ".join(counts)


def _origins(contents: Contents) -> str:
    found = origins(contents.comparison) if contents.comparison else ""
    found += "".join(search_origin(search) for search in contents.searches)
    found += "".join(sensitivity_origin(sensitivity) for sensitivity in contents.sensitivities)
    made = {"command": shlex.join(contents.command), "version": f"kaldi_quant {__version__}"}
    return found + folded("this page", facts(made)) + bullets(contents.notes)
