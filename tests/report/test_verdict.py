"""What is said first of each model."""

from dataclasses import replace
from pathlib import Path

import pytest

from kaldi_quant.report.comparison import Comparison, ComparisonOptions, Row, Versus, compare
from kaldi_quant.report.significance.bootstrap import Interval, PairedDifference
from kaldi_quant.report.significance.mapsswe import MatchedPairs
from kaldi_quant.report.verdict import lines, verdicts
from kaldi_quant.speed import Speed
from tests.report.decode_folders import disturbed, real, write_folder


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    base = tmp_path_factory.mktemp("decode")
    references, first = real()
    float_record = {"artefact_bytes": 1300, "float_bytes": 1000, "bits_per_weight": 32.0}
    records = {"float": float_record, "w4": {"artefact_bytes": 137, "float_bytes": 1000, "bits_per_weight": 4.1}}
    words = {"float": first, "w4": disturbed(first, 0.01, 1)}
    folders = [write_folder(base / name, references, {"16_1.0": words[name]}, records[name]) for name in records]
    return compare(folders, ComparisonOptions(replications=100))


def said(comparison: Comparison, row: Row) -> str:
    return verdicts(replace(comparison, rows=[comparison.rows[0], row]))[0].sentence


def differing(row: Row, difference: float, interval: tuple[float, float], p_values: tuple[float, float]) -> Row:
    paired = PairedDifference(difference, Interval(*interval), p_values[0])
    return replace(row, versus=Versus(paired, MatchedPairs(9, 0, 1, 1, p_values[1], 9, p_values[1]), 390))


def test_sizes_are_of_what_inference_needs(comparison: Comparison) -> None:
    float_row, row = comparison.rows
    # The .mdl has 1300 bytes, of which inference needs 1000.
    assert float_row.share_of_float == 1.0 and row.share_of_float == 0.137
    assert said(comparison, row).startswith("7.3 times smaller than float, ")
    record = row.folder.record
    assert record is not None
    expectations = {1020: "as large as float", 2500: "2.5 times larger than float", 1: "1000 times smaller"}
    for size, expected in expectations.items():
        changed = replace(row, folder=replace(row.folder, record=replace(record, artefact_bytes=size)))
        assert said(comparison, changed).startswith(expected)
    assert "float" not in said(comparison, replace(row, folder=replace(row.folder, record=None)))


@pytest.mark.parametrize(
    ("difference", "interval", "p_values", "expected"),
    [
        (0.04, (-0.44, 0.52), (0.9, 0.9), "no significant loss (+0.04 % absolute; up to +0.52 cannot be ruled out)"),
        (-0.2, (-0.5, 0.0), (0.2, 0.2), "no significant loss (-0.20 % absolute)"),
        (85.5, (83.0, 88.0), (0.0, 0.0), "a significant loss (+85.50 % absolute)"),
        (-1.0, (-1.5, -0.5), (0.0, 0.0), "a significant gain (-1.00 % absolute)"),
        (0.3, (0.0, 0.6), (0.04, 0.06), "+0.30 % absolute, significant by one test and not by another"),
    ],
)
def test_losses(comparison: Comparison, difference, interval, p_values, expected: str) -> None:
    row = differing(comparison.rows[1], difference, interval, p_values)
    assert said(comparison, row) == f"7.3 times smaller than float, {expected}"


def test_the_same_words(comparison: Comparison) -> None:
    row = comparison.rows[1]
    assert row.versus is not None
    same = replace(row, versus=replace(row.versus, equal_units=400))
    assert said(comparison, same).endswith(", no loss: the same words in all utterances")


@pytest.mark.parametrize(
    ("speed", "expected"),
    [
        (Speed(30, 3.0, 2.9, 3.1), ", 3.0 times as fast, "),
        (Speed(10, 1.02, 1.0, 1.1), ", as fast, "),
        (Speed(5, 0.5, 0.5, 0.5), ", 2.0 times slower, "),
        (Speed(30, 3.0, 1.0, 5.0), ", 3.0 times as fast (1 to 5 over the rounds), "),
    ],
)
def test_speeds(comparison: Comparison, speed: Speed, expected: str) -> None:
    speeds = {"float": Speed(10, 1.0, 1.0, 1.0), "w4": speed}
    assert expected in lines(replace(comparison, speeds=speeds))[0]
    # Relative to another model than the first folder's.
    assert "fast" not in lines(replace(comparison, speeds={"float model": Speed(1, 1, 1, 1), **speeds}))[0]


def test_nothing_is_said_of_a_single_folder(comparison: Comparison, tmp_path: Path) -> None:
    assert lines(replace(comparison, rows=comparison.rows[:1])) == []
