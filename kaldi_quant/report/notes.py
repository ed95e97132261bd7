"""What a reader of the table must know to read it rightly, in sentences."""

from __future__ import annotations

from kaldi_quant.report.cells import interval, p_value
from kaldi_quant.report.comparison import LEVEL, Comparison, ComparisonOptions, Row
from kaldi_quant.report.files.decode_folder import FixedPoint

#: What stands in the tables under these names.
LMWT = "LMWT: language-model weight; scoring divides acoustic costs by it"
WIP = "WIP: word insertion penalty; scoring adds this cost for each word"
MAPSSWE = (
    "MAPSSWE: matched-pairs sentence-segment word error test (Gillick and Cox 1989); it compares the errors of two "
    "systems in stretches between words that both have right"
)


def notes(comparison: Comparison) -> list[str]:
    """The sentences, each on one line and without "WER", which is to be found in the rows of results alone."""
    rows = comparison.rows
    options = comparison.options
    found = [bootstrap_note(options, comparison.unit, comparison.units)]
    if len(rows) > 1:
        found.append(
            f"differences are to {rows[0].name}; p-values are two-tailed; significant: p is below {LEVEL:g} in the "
            "paired bootstrap, in MAPSSWE, and in an exact test of the segments of MAPSSWE"
        )
        found.append(MAPSSWE)
    found += [point_note(options), LMWT, WIP]
    if len(rows) > 2:
        found.append(
            f"{len(rows) - 1} differences are tested: where any one of them would do, compare p with "
            f"{LEVEL:g}/{len(rows) - 1} = {LEVEL / (len(rows) - 1):.2g} (Bonferroni)"
        )
    for row in rows:
        found += _of_row(row, rows[0].name)
    return found + _left_in_float(rows)


def bootstrap_note(options: ComparisonOptions, unit: str, units: int) -> str:
    """How intervals were found."""
    return (
        f"intervals: 95 %, bootstrap (Bisani and Ney 2004) over {units} {unit}, "
        f"{options.replications} replications, seed {options.seed}"
    )


def point_note(options: ComparisonOptions) -> str:
    """At which point of the sweep folders are compared."""
    if options.fixed == FixedPoint():
        return (
            "every folder stands at its own best LMWT and WIP, found on these same references; "
            "--lmwt and --wip fix the point"
        )
    return f"every folder stands at {options.fixed}"


def _of_row(row: Row, reference: str) -> list[str]:
    found = []
    absent = row.folder.result.absent_sentences
    if absent:
        found.append(f"{row.name}: {absent} references have no hypothesis and are not scored")
    if row.folder.is_older_than_lattices:
        found.append(f"{row.name}: the lattices in {row.folder.path} are newer than its scores: score it again")
    if row.versus is not None:
        found += _of_difference(row, reference)
    return found


def _left_in_float(rows: list[Row]) -> list[str]:
    """One sentence for all rows that left the same layers in float for the same reasons."""
    names: dict[str, list[str]] = {}
    for row in rows:
        if row.folder.record and row.folder.record.float_layers:
            reasons = "; ".join(f"{layer} ({reason})" for layer, reason in row.folder.record.float_layers)
            names.setdefault(reasons, []).append(row.name)
    return [f"left in float in {', '.join(those)}: {reasons}" for reasons, those in names.items()]


def _of_difference(row: Row, reference: str) -> list[str]:
    versus = row.versus
    assert versus is not None
    if versus.equal_utterances == len(row.folder.scored):
        return [f"{row.name}: the same words as {reference} in all utterances"]
    found = []
    paired, matched = versus.paired, versus.matched
    tests = (
        f"p {p_value(paired.p_value)} by bootstrap, {p_value(matched.p_value)} by MAPSSWE, "
        f"{p_value(matched.exact_p_value)} exact, {matched.differing} segments differ"
    )
    what = f"{row.name}: {paired.difference:+.2f}"
    if versus.significant is None:
        found.append(f"{what} is significant by one test and not by another ({tests}): take it as not shown")
    elif not versus.significant:
        found.append(f"{what} is not significant ({tests}): it may be anything in {interval(paired.interval, '+')}")
    return found
