"""The comparison as text: rows as in Kaldi's RESULTS, so that ``grep WER | sort -k2n`` and ``best_wer.sh`` work."""

from __future__ import annotations

from kaldi_quant.report.cells import EMPTY, Table, columns, interval, layer_table, p_value, speed_table
from kaldi_quant.report.comparison import Comparison
from kaldi_quant.report.notes import bootstrap_note, notes, point_note
from kaldi_quant.report.trainings import TrainingComparison
from kaldi_quant.report.verdict import lines as verdict_lines


def as_text(comparison: Comparison) -> str:
    """The verdicts, a row for each folder, other tables; what explains the rows is in lines that begin with ``#``."""
    chosen = columns(comparison)
    header = ["#", "name", *(column.title for column in chosen)]
    body = []
    for row in comparison.rows:
        # Kaldi's best_wer.sh expects one space before the number, and nothing before the %.
        result = f"{row.folder.result.wer_line()} {row.folder.score_file}"
        body.append([result, row.name, *(column.cell(row) for column in chosen)])
    parts = ["".join(f"# {verdict}\n" for verdict in verdict_lines(comparison))]
    parts += [_aligned([header, *body], left=2), "".join(f"# {note}\n" for note in notes(comparison))]
    layers, speeds = layer_table(comparison), speed_table(comparison)
    if layers:
        parts.append("# signal-to-quantization-noise of each layer, dB\n" + _table(layers))
    if speeds:
        parts.append("# speed on one thread, as ratios to the first; medians over rounds\n" + _table(speeds))
    return "\n".join(filter(None, parts))


def trainings_as_text(comparison: TrainingComparison) -> str:
    """A row for each way of training, with the word error rate of each model behind."""
    body = [
        [
            "# name",
            "models",
            f"mean-{comparison.options.rate.name}",
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
        cells = [row.name, str(len(row.folders)), f"{row.mean:.2f}"]
        cells += [EMPTY if row.deviation is None else f"{row.deviation:.2f}", interval(row.interval)]
        if versus is None:
            cells += [EMPTY] * 3
        else:
            cells += [f"{versus.difference:+.2f}", interval(versus.interval, "+"), p_value(versus.p_value)]
        body.append([*cells, ",".join(f"{rate:.2f}" for rate in row.rates)])
    said = [
        bootstrap_note(comparison.options, comparison.unit, comparison.units),
        "each draw of the test set is scored by a draw from the models of each row: chance in training is part of it",
        f"differences are to {comparison.rows[0].name}; p-values are two-tailed",
        point_note(comparison.options),
    ]
    return _aligned(body, left=1) + "".join(f"# {note}\n" for note in said)


def _table(table: Table) -> str:
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
