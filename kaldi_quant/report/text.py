"""The comparison as text: rows as in Kaldi's RESULTS, so that ``grep WER | sort -k2n`` and ``best_wer.sh`` work."""

from __future__ import annotations

from kaldi_quant.report.cells import Table, columns, layer_table, speed_table
from kaldi_quant.report.comparison import Comparison
from kaldi_quant.report.notes import notes


def as_text(comparison: Comparison) -> str:
    """A row for each folder, with what must be known to read it in lines that begin with ``#``; then other tables."""
    chosen = columns(comparison)
    header = ["#", "name", *(column.title for column in chosen)]
    body = []
    for row in comparison.rows:
        # Kaldi's best_wer.sh expects one space before the number, and nothing before the %.
        result = f"{row.folder.result.wer_line()} {row.folder.wer_file}"
        body.append([result, row.name, *(column.cell(row) for column in chosen)])
    parts = [_aligned([header, *body], left=2), "".join(f"# {note}\n" for note in notes(comparison))]
    layers, speeds = layer_table(comparison), speed_table(comparison)
    if layers:
        parts.append("# signal-to-quantization-noise of each layer, dB\n" + _table(layers))
    if speeds:
        parts.append("# speed on one thread, as ratios to the first; medians over rounds\n" + _table(speeds))
    return "\n".join(parts)


def _table(table: Table) -> str:
    return _aligned([[f"# {table.headings[0]}", *table.headings[1:]], *table.rows], left=1)


def _aligned(rows: list[list[str]], left: int) -> str:
    """Columns side by side, the first ones flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if position < left else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)
