"""The comparison as one HTML page, and its parts for pages that hold more."""

from __future__ import annotations

import json
import shlex

from kaldi_quant import __version__
from kaldi_quant.report.cells import layer_table, speed_table
from kaldi_quant.report.comparison import Comparison, Row
from kaldi_quant.report.markdown import result_table
from kaldi_quant.report.notes import notes
from kaldi_quant.report.pages.html import Section, bullets, document, facts, figure, folded, table
from kaldi_quant.report.pages.plot_style import Plot
from kaldi_quant.report.pages.plots import plots


def as_html(comparison: Comparison) -> str:
    """The page.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    figures = plots(comparison)
    parts = [*result_sections(comparison, figures), *layer_sections(comparison, figures)]
    parts += [*speed_sections(comparison, figures), Section("What was compared", origins(comparison))]
    return document(f"Comparison of {folder_count(comparison)}", subtitle(comparison), parts)


def folder_count(comparison: Comparison) -> str:
    """How many folders, in words."""
    count = len(comparison.rows)
    return f"{count} decode {'folder' if count == 1 else 'folders'}"


def subtitle(comparison: Comparison) -> str:
    """What all were tested on, and by which version."""
    result = comparison.rows[0].folder.result
    return f"{result.num_words} words in {result.num_sentences} utterances · kaldi_quant {__version__}"


def result_sections(comparison: Comparison, figures: dict[str, Plot]) -> list[Section]:
    """The table with its notes, and the plots of word error rates."""
    positions = {row.name: position for position, row in enumerate(comparison.rows)}
    found = [Section("Results", table(result_table(comparison), positions) + bullets(notes(comparison)))]
    titles = ("Word error rates", "Differences", "Word error rate and size")
    return found + [Section(title, figure(figures[title])) for title in titles if title in figures]


def layer_sections(comparison: Comparison, figures: dict[str, Plot]) -> list[Section]:
    """Noise and widths of layers, where a folder tells."""
    layers = layer_table(comparison)
    if not layers:
        return []
    plot = figure(figures["Layers"]) if "Layers" in figures else ""
    return [Section("Layers", plot + folded("All layers", table(layers)))]


def speed_sections(comparison: Comparison, figures: dict[str, Plot]) -> list[Section]:
    """Speed, where it was measured."""
    speeds = speed_table(comparison)
    if not speeds:
        return []
    positions = {row.name: position for position, row in enumerate(comparison.rows)}
    plot = figure(figures["Speed"]) if "Speed" in figures else ""
    return [Section("Speed", plot + table(speeds, positions))]


def origins(comparison: Comparison) -> str:
    """Where each row comes from."""
    return "".join(folded(row.name, facts(_origin(row))) for row in comparison.rows)


def _origin(row: Row) -> dict[str, str]:
    """A row's files, and what its record says of how it was made."""
    record = row.folder.record
    found = {"scores": str(row.folder.wer_file)}
    if record:
        found |= {
            "model": record.model or "",
            "preset": record.preset or "",
            "command": shlex.join(record.command),
            "version": record.code_version or "",
            "left in float": "; ".join(f"{layer}: {reason}" for layer, reason in record.float_layers),
            "configuration": json.dumps(record.config, indent=1, ensure_ascii=False) if record.config else "",
        }
    return found
