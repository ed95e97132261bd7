"""Means by noise and ratio, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.enhancement.scores.conditions import (
    TABLE,
    Condition,
    Mean,
    by_condition,
    conditions_of,
    read_conditions,
    write_conditions,
)
from kaldi_quant.metrics.known import ACCURACY, SI_SDR
from kaldi_quant.metrics.score import Score
from tests.frontends.enhancement.scores.pairs import pairs

CONDITIONS = {
    "a": Condition("hum", 0.0),
    "b": Condition("hum", 0.0),
    "c": Condition("hum", 5.0),
    "d": Condition("babble", 5.0),
    "e": Condition("babble", None),
}
SCORE = Score(SI_SDR, {"a": 1.0, "b": 3.0, "c": 8.0, "d": 10.0, "e": 28.0})


def test_means_by_hand() -> None:
    found = by_condition(SCORE, CONDITIONS)
    assert found.noises == ("babble", "hum") and found.snrs == (0.0, 5.0)
    assert found.cells == {
        ("hum", 0.0): Mean(2.0, 2),
        ("hum", 5.0): Mean(8.0, 1),
        ("hum", None): Mean(4.0, 3),
        ("babble", 5.0): Mean(10.0, 1),
        # What has no ratio counts for its noise.
        ("babble", None): Mean(19.0, 2),
        (None, 0.0): Mean(2.0, 2),
        (None, 5.0): Mean(9.0, 2),
        (None, None): Mean(10.0, 5),
    }
    percent = by_condition(Score(ACCURACY, {"a": 1.0, "b": 0.0}), CONDITIONS)
    assert percent.cells["hum", 0.0] == Mean(50.0, 2)


def test_drawn_ratios_are_put_together() -> None:
    conditions = {str(place): Condition("hum", place / 2 - 2.4) for place in range(30)}
    found = by_condition(Score(SI_SDR, dict.fromkeys(conditions, 1.0)), conditions)
    assert found.snrs == (0.0, 5.0, 10.0) and found.cells["hum", 5.0].number == 10


def test_what_has_no_means() -> None:
    with pytest.raises(DataError, match=r"e \(1 in all\) has no condition, see conditions\.tsv"):
        by_condition(SCORE, {name: CONDITIONS[name] for name in "abcd"})
    with pytest.raises(DataError, match="a ratio of sums has no means"):
        by_condition(Score(SI_SDR, {"a": 1.0}, {"a": 2.0}), CONDITIONS)


def test_the_table(tmp_path: Path) -> None:
    write_conditions(tmp_path, CONDITIONS)
    assert read_conditions(tmp_path) == CONDITIONS
    assert (tmp_path / TABLE).read_text().splitlines()[:2] == ["name\tnoise\tsnr", "a\thum\t0"]
    assert conditions_of(pairs())["babble-10.0"] == Condition("babble", 10.0)
    with pytest.raises(DataError, match="expected names that fit into a table"):
        write_conditions(tmp_path, {"a\tb": Condition()})
    for line, message in (
        ("a\thum\tloud", "line 3: expected a ratio in dB, found 'loud'"),
        ("a\thum\tnan", "expected a ratio in dB, found 'nan'"),
        ("x\thum\t1", "x stands there twice"),
    ):
        (tmp_path / TABLE).write_text(f"name\tnoise\tsnr\nx\thum\t5\n{line}\n")
        with pytest.raises(DataError, match=message):
            read_conditions(tmp_path)
