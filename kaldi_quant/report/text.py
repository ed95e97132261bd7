"""The comparison as text: rows as in Kaldi's RESULTS, so that ``grep WER | sort -k2n`` and ``best_wer.sh`` work."""

from __future__ import annotations

from kaldi_quant.report.cells import EMPTY, Table, columns, layer_table, speed_table
from kaldi_quant.report.comparison import Comparison
from kaldi_quant.report.notes import bootstrap_note, notes
from kaldi_quant.report.numbers import interval, p_value
from kaldi_quant.report.trainings import TrainingComparison
from kaldi_quant.report.verdict import lines as verdict_lines


def as_text(comparison: Comparison) -> str:
    """The verdicts, a row for each folder, other tables; what explains the rows is in lines that begin with ``#``."""
    chosen = columns(comparison)
    header = ["#", "name", *(column.title for column in chosen)]
    body = []
    for row in comparison.rows:
        body.append([comparison.kind.line(row.folder), row.name, *(column.cell(row) for column in chosen)])
    parts = ["".join(f"# {verdict}\n" for verdict in verdict_lines(comparison))]
    parts += [_aligned([header, *body], left=2), "".join(f"# {note}\n" for note in notes(comparison))]
    layers, speeds = layer_table(comparison), speed_table(comparison)
    if layers:
        parts.append("# signal-to-quantization-noise of each layer, dB\n" + table_as_text(layers))
    if speeds:
        parts.append("# speed on one thread, as ratios to the first; medians over rounds\n" + table_as_text(speeds))
    return "\n".join(filter(None, parts))


def trainings_as_text(comparison: TrainingComparison) -> str:
    """A row for each way of training, with the score of each model behind."""
    metric = comparison.metric
    body = [
        [
            "# name",
            "models",
            f"mean-{metric.name}",
            "deviation",
            "95%-interval",
            "difference",
            "95%-interval",
            "p",
            "each",
        ]
    ]
    for row in comparison.rows:
        versus = row.versus
        cells = [row.name, str(len(row.folders)), metric.number(row.mean)]
        cells += [EMPTY if row.deviation is None else metric.number(row.deviation), interval(row.interval, metric)]
        if versus is None:
            cells += [EMPTY] * 3
        else:
            cells += [metric.number(versus.difference, "+"), interval(versus.interval, metric, "+")]
            cells.append(p_value(versus.p_value))
        body.append([*cells, ",".join(map(metric.number, row.values))])
    said = [
        bootstrap_note(comparison.options, comparison.unit, comparison.units),
        "each draw of the test set is scored by a draw from the models of each row: chance in training is part of it",
        f"differences are to {comparison.rows[0].name}; p-values are two-tailed",
        comparison.kind.about_values(metric),
    ]
    return _aligned(body, left=1) + "".join(f"# {note}\n" for note in said)


def table_as_text(table: Table) -> str:
    """A table whose headings are in a line that begins with ``#``."""
    return _aligned([[f"# {table.headings[0]}", *table.headings[1:]], *table.rows], left=1)


def _aligned(rows: list[list[str]], left: int) -> str:
    """Columns side by side, the first so many flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if position < left else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)
