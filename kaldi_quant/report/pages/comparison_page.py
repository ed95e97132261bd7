"""The comparison as one HTML page, and its parts for pages that hold more."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from kaldi_quant import __version__
from kaldi_quant.report.cells import layer_table, speed_table
from kaldi_quant.report.comparison import Comparison, Row
from kaldi_quant.report.markdown import result_table
from kaldi_quant.report.notes import notes
from kaldi_quant.report.pages.html import Section, bullets, document, facts, figure, folded, lead, table
from kaldi_quant.report.pages.plots import Plots, plots
from kaldi_quant.report.verdict import verdicts

# More models than these do not fit into a title.
_MOST_NAMES = 3


def as_html(comparison: Comparison) -> str:
    """The page.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    figures = plots(comparison)
    parts = [*result_sections(comparison, figures), *layer_sections(comparison, figures)]
    parts += [*speed_sections(comparison, figures), Section("What was compared", origins(comparison))]
    return document(titled(f"Comparison of {folder_count(comparison)}", comparison), subtitle(comparison), parts)


def titled(title: str, comparison: Comparison) -> str:
    """A title with the names of the models, where the folders tell."""
    names = model_names(comparison)
    return f"{', '.join(names)}: {title[0].lower()}{title[1:]}" if 0 < len(names) <= _MOST_NAMES else title


def model_names(comparison: Comparison) -> list[str]:
    """The folders of the ``.mdl`` that were decoded or quantized, such as tdnn1a_sp."""
    names = []
    for row in comparison.rows:
        model = Path(row.folder.record.model) if row.folder.record and row.folder.record.model else None
        above = row.folder.path.absolute().parent
        if model is not None and model.suffix == ".mdl" and model.parent.name:
            names.append(model.parent.name)
        elif (above / "final.mdl").is_file():
            names.append(above.name)
    return list(dict.fromkeys(names))


def folder_count(comparison: Comparison) -> str:
    """How many folders, in words."""
    count = len(comparison.rows)
    return f"{count} {comparison.kind.folder_noun}{'' if count == 1 else 's'}"


def subtitle(comparison: Comparison) -> str:
    """What all were tested on, and by which version."""
    return f"{comparison.kind.test_set(comparison.rows[0].folder)} · kaldi_quant {__version__}"


def result_sections(comparison: Comparison, figures: Plots) -> list[Section]:
    """The verdict, the table with its notes, and the plots of scores."""
    positions = {row.name: position for position, row in enumerate(comparison.rows)}
    found = [Section("In short", _verdict(comparison, positions))]
    found.append(Section("Results", table(result_table(comparison), positions) + bullets(notes(comparison))))
    shown = (figures.get("scores"), figures.get("differences"), figures.get("size"))
    return found + [Section(plot.title, figure(plot)) for plot in shown if plot]


def _verdict(comparison: Comparison, positions: dict[str, int]) -> str:
    """A sentence for each model; of a single one its score."""
    if len(comparison.rows) > 1:
        return lead((verdict.name, verdict.sentence, positions[verdict.name]) for verdict in verdicts(comparison))
    row, metric = comparison.rows[0], comparison.metric
    low, high = metric.number(row.interval.low), metric.number(row.interval.high)
    sentence = f"{metric.shown(row.value)} {metric.title}, 95 % interval {low} to {high}"
    return lead([(row.name, sentence, 0)])


def layer_sections(comparison: Comparison, figures: Plots) -> list[Section]:
    """Noise and widths of layers, where a folder tells."""
    layers = layer_table(comparison)
    if not layers:
        return []
    plot = figure(figures["layers"]) if "layers" in figures else ""
    return [Section("Layers", plot + folded("All layers", table(layers)))]


def speed_sections(comparison: Comparison, figures: Plots) -> list[Section]:
    """Speed, where it was measured."""
    speeds = speed_table(comparison)
    if not speeds:
        return []
    positions = {row.name: position for position, row in enumerate(comparison.rows)}
    plot = figure(figures["speed"]) if "speed" in figures else ""
    return [Section("Speed", plot + table(speeds, positions))]


def origins(comparison: Comparison) -> str:
    """Where each row comes from."""
    return "".join(folded(row.name, facts(_origin(row))) for row in comparison.rows)


def _origin(row: Row) -> dict[str, str]:
    """A row's files, and what its record says of how it was made."""
    record = row.folder.record
    found = {"scores": str(row.folder.score_file)}
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
