"""The comparison in Markdown, for reports and change requests."""

from __future__ import annotations

from kaldi_quant.report.cells import EMPTY, Table, columns, layer_table, speed_table
from kaldi_quant.report.comparison import Comparison
from kaldi_quant.report.notes import notes
from kaldi_quant.report.verdict import lines as verdict_lines


def as_markdown(comparison: Comparison) -> str:
    """Tables with headings of level 2; columns that hold nothing are left out."""
    verdict = "".join(f"- {_escaped(line)}\n" for line in verdict_lines(comparison))
    parts = ["## In short\n", verdict] if verdict else []
    parts += [f"## {comparison.title}\n", _table(result_table(comparison))]
    parts.append("".join(f"- {_escaped(note)}\n" for note in notes(comparison)))
    layers, speeds = layer_table(comparison), speed_table(comparison)
    if layers:
        parts += ["## Signal-to-quantization-noise of each layer, dB\n", _table(layers)]
    if speeds:
        parts += ["## Speed on one thread, as ratios to the first\n", _table(speeds)]
    return "\n".join(parts)


def result_table(comparison: Comparison) -> Table:
    """The main table for people; columns that hold nothing are left out."""
    rows, kind = comparison.rows, comparison.kind
    chosen = [column for column in columns(comparison) if any(column.cell(row) != EMPTY for row in rows)]
    body = [[row.name, *kind.cells(row.folder), *(column.cell(row) for column in chosen)] for row in rows]
    headings = ["folder", *kind.headings(rows[0].folder), *(column.heading for column in chosen)]
    return Table(headings, body)


def _table(table: Table) -> str:
    rule = ["---", *["---:"] * (len(table.headings) - 1)]
    rows = [table.headings, rule, *table.rows]
    return "".join(f"| {' | '.join(map(_escaped, row))} |\n" for row in rows)


def _escaped(text: str) -> str:
    """Names of folders and layers must not become markup."""
    for character in "\\`*_|<>":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())
