"""What a reader of the table must know to read it rightly, in sentences."""

from __future__ import annotations

from kaldi_quant.report.comparison import Comparison, ComparisonOptions, Row
from kaldi_quant.report.numbers import interval
from kaldi_quant.report.versus import LEVEL


def notes(comparison: Comparison) -> list[str]:
    """The sentences, each on one line and without the metric's name, which is in the rows of results alone."""
    rows, kind = comparison.rows, comparison.kind
    found = [bootstrap_note(comparison.options, comparison.unit, comparison.units)]
    if len(rows) > 1:
        found.append(
            f"differences are to {rows[0].name}; p-values are two-tailed; significant: p is below {LEVEL:g} in "
            f"{kind.tests}"
        )
        found += kind.about_tests(comparison.unit)
    found += [kind.about_values(comparison.metric), *kind.terms]
    if len(rows) > 2:
        found.append(
            f"{len(rows) - 1} differences are tested: where any one of them would do, compare p with "
            f"{LEVEL:g}/{len(rows) - 1} = {LEVEL / (len(rows) - 1):.2g} (Bonferroni)"
        )
    for row in rows:
        found += [f"{row.name}: {note}" for note in kind.notes(row.folder)]
        found += _of_difference(row, comparison)
    return found + _left_in_float(rows)


def bootstrap_note(options: ComparisonOptions, unit: str, units: int) -> str:
    """How intervals were found."""
    return (
        f"intervals: 95 %, bootstrap (Bisani and Ney 2004) over {units} {unit}, "
        f"{options.replications} replications, seed {options.seed}"
    )


def _left_in_float(rows: list[Row]) -> list[str]:
    """One sentence for all rows that left the same layers in float for the same reasons."""
    names: dict[str, list[str]] = {}
    for row in rows:
        if row.folder.record and row.folder.record.float_layers:
            reasons = "; ".join(f"{layer} ({reason})" for layer, reason in row.folder.record.float_layers)
            names.setdefault(reasons, []).append(row.name)
    return [f"left in float in {', '.join(those)}: {reasons}" for reasons, those in names.items()]


def _of_difference(row: Row, comparison: Comparison) -> list[str]:
    """What keeps a difference from being significant; nothing where it is, or for the first folder."""
    versus, metric, kind = row.versus, comparison.metric, comparison.kind
    if versus is None or versus.significant:
        return []
    if row.is_equal:
        return [f"{row.name}: {kind.same} as {comparison.rows[0].name} in all {comparison.utterances}"]
    what, tests = f"{row.name}: {metric.number(versus.paired.difference, '+')}", kind.p_values(versus)
    if versus.significant is None:
        return [f"{what} is significant by one test and not by another ({tests}): take it as not shown"]
    anything = interval(versus.paired.interval, metric, "+")
    return [f"{what} is not significant ({tests}): it may be anything in {anything}"]
