"""The comparison as one HTML page: tables and plots in a single file that loads nothing from anywhere."""

from __future__ import annotations

import json
import shlex
from html import escape

from kaldi_quant import __version__
from kaldi_quant.report.cells import Table, layer_table, speed_table
from kaldi_quant.report.comparison import Comparison, Row
from kaldi_quant.report.markdown import result_table
from kaldi_quant.report.notes import notes
from kaldi_quant.report.plots import Plot, colour_of, plots, require_matplotlib

__all__ = ["as_html", "require_matplotlib"]

_CSS = """
:root { --ink: #2b303a; --soft: #5b6270; --line: #e3e6ea; --paper: #ffffff; --ground: #f6f7f9; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; font-weight: 650; margin: 0 0 4px; }
h2 { font-size: 18px; font-weight: 600; margin: 0 0 12px; }
p.sub { color: var(--soft); margin: 0 0 24px; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 20px 22px;
  margin: 0 0 20px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; width: 100%; }
th { color: var(--soft); font-weight: 500; text-align: right; vertical-align: bottom; }
td { text-align: right; white-space: nowrap; }
th, td { padding: 7px 6px; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 2px; font-weight: 500; }
tbody tr:last-child td { border-bottom: 0; }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 8px; }
svg { width: 100%; height: auto; display: block; }
svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif !important; }
figure { margin: 0; }
figcaption { color: var(--soft); font-size: 13px; margin-top: 8px; }
ul { margin: 14px 0 0; padding-left: 18px; color: var(--soft); font-size: 13.5px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 16px; margin: 10px 0 4px; font-size: 13.5px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; padding: 4px 0; } pre { margin: 0; white-space: pre-wrap; }
@media print { body { background: none; } section { break-inside: avoid; } }
"""
# Nothing is loaded and nothing runs, whatever the names in the tables hold.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def as_html(comparison: Comparison) -> str:
    """The page.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    names = {row.name: position for position, row in enumerate(comparison.rows)}
    layers, speeds = layer_table(comparison), speed_table(comparison)
    figures = {plot.title: plot for plot in plots(comparison)}
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes(comparison))
    parts = [_section("Results", _table(result_table(comparison), names) + f"<ul>{listed}</ul>")]
    parts += [
        _section(title, _figure(figures[title]))
        for title in ("Word error rates", "Differences", "Word error rate and size")
        if title in figures
    ]
    if layers:
        parts.append(
            _section(
                "Layers",
                (_figure(figures["Layers"]) if "Layers" in figures else "") + _folded("All layers", _table(layers)),
            )
        )
    if speeds:
        parts.append(
            _section("Speed", (_figure(figures["Speed"]) if "Speed" in figures else "") + _table(speeds, names))
        )
    parts.append(_section("What was compared", "".join(_origin(row) for row in comparison.rows)))
    count = len(comparison.rows)
    result = comparison.rows[0].folder.result
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Comparison of {count} decode folders</title>\n<style>{_CSS}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>Comparison of {count} decode {'folder' if count == 1 else 'folders'}</h1>\n"
        f'<p class="sub">{result.num_words} words in {result.num_sentences} utterances · '
        f"kaldi_quant {__version__}</p>\n" + "".join(parts) + "</main>\n</body>\n</html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>\n"


def _figure(plot: Plot) -> str:
    return f"<figure>{plot.svg}<figcaption>{escape(plot.caption)}</figcaption></figure>"


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def _table(table: Table, names: dict[str, int] | None = None) -> str:
    """A table; rows that begin with a name of a folder carry its colour."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in table.headings)
    rows = []
    for first, *others in table.rows:
        key = (
            f'<span class="key" style="background:{colour_of(names[first])}"></span>'
            if names and first in names
            else ""
        )
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in others)
        rows.append(f"<tr><td>{key}{escape(first)}</td>{cells}</tr>\n")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{"".join(rows)}</tbody></table></div>'


def _origin(row: Row) -> str:
    """Where a row comes from: its files, and what its record says of how it was made."""
    record = row.folder.record
    facts = {"scores": str(row.folder.wer_file)}
    if record:
        facts |= {
            "model": record.model or "",
            "preset": record.preset or "",
            "command": shlex.join(record.command),
            "version": record.code_version or "",
            "left in float": "; ".join(f"{layer}: {reason}" for layer, reason in record.float_layers),
            "configuration": json.dumps(record.config, indent=1, ensure_ascii=False) if record.config else "",
        }
    entries = "".join(f"<dt>{name}</dt><dd><pre>{escape(fact)}</pre></dd>" for name, fact in facts.items() if fact)
    return _folded(row.name, f"<dl>{entries}</dl>")
