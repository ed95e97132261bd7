"""Means and ratios of sums, and scores.json: what it holds, and one sentence for what it should not hold."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kaldi_quant.errors import DataError, FormatError
from kaldi_quant.metrics.known import ACCURACY, SI_SDR, WER
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.metrics.score import Score
from kaldi_quant.metrics.score_file import read_score, write_score

PESQ: dict[str, Any] = {"name": "PESQ", "unit": "", "better": "higher"}
MINIMAL: dict[str, Any] = {"metric": PESQ, "units": {"a": 2.5, "b": 3}}


def test_a_mean() -> None:
    score = Score(SI_SDR, {"a": 10, "b": -4.0})
    assert (score.value, score.total) == (3.0, 2) and score.per_unit == {"a": 10.0, "b": -4.0}
    assert Score(ACCURACY, {"a": True, "b": False, "c": True}, units_are="examples").value == pytest.approx(200 / 3)


def test_a_ratio_of_sums_is_no_mean_of_ratios() -> None:
    # One utterance without words, into which a word was inserted, has a share of its own.
    score = Score(WER, {"a": 1, "b": 2, "c": 1}, {"c": 0, "a": 10, "b": 2})
    assert score.value == 100 * 4 / 12 and score.total == 12
    assert score.out_of is not None and list(score.out_of) == ["a", "b", "c"]


def test_equal_units_are_counted() -> None:
    one, other = Score(SI_SDR, {"a": 1.0, "b": 2.0, "c": 3.0}), Score(SI_SDR, {"c": 3.0, "b": 2.5, "a": 1.0})
    assert one.count_equal(other) == other.count_equal(one) == 2


@pytest.mark.parametrize(
    ("per_unit", "out_of", "message"),
    [
        ({}, None, "WER: expected at least one unit, found none"),
        ({"a": 1.0, "b": float("nan")}, None, "WER of b: expected a finite number, found nan"),
        ({"a": float("-inf")}, None, "WER of a: expected a finite number, found -inf"),
        ({"a": 1e200}, None, r"WER of a: expected a finite number, found 1e\+200"),
        ({"a": 1}, {"a": float("inf")}, "WER of a: expected a finite number, found inf"),
        ({"a": 1, "b": 1, "c": 1}, {"a": 1}, r"WER of b \(2 in all\): there is a value, but not what it is out of"),
        ({"a": 1}, {"a": 1, "b": 1}, r"WER of b \(1 in all\): there is what its value is out of, but no value"),
        ({"a": 1}, {"a": -1}, "WER of a: expected to be out of 0 or more, found -1"),
        ({"a": 1}, {"a": 0}, "WER: all utterances are out of 0, so that there is no ratio"),
        ({"a": 1e90}, {"a": 1e-290}, "WER: expected numbers of a usual size"),
        ({"a\nb": float("nan")}, None, r"WER of 'a\\nb': expected a finite number"),
    ],
)
def test_what_is_no_score(per_unit: dict, out_of: dict | None, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        Score(WER, per_unit, out_of)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "score",
    [
        Score(SI_SDR, {"a": 0.1 + 0.2, "b": -1e-17, "caf\xe9 \udcff": 3.0}),
        Score(WER, {"a": 1, "b": 0}, {"a": 3, "b": 0}, "files"),
        Score(Metric("MSE", "", "lower", 6, title="mean squared error"), {"a": float(np.float32(1e-4))}),
    ],
)
def test_files_keep_everything(score: Score, tmp_path: Path) -> None:
    path = write_score(tmp_path / "new" / "folder", score)
    assert path == tmp_path / "new" / "folder" / "scores.json" and read_score(path.parent) == score
    assert [file.name for file in path.parent.iterdir()] == ["scores.json"]


def written(folder: Path, content: object) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "scores.json").write_text(text)
    return folder


def test_the_shortest_file(tmp_path: Path) -> None:
    score = read_score(written(tmp_path, MINIMAL))
    assert score == Score(Metric("PESQ", "", "higher"), {"a": 2.5, "b": 3.0}, None, "utterances")
    assert (score.value, score.metric.digits, score.metric.title) == (2.75, 2, "PESQ")


def test_a_metric_that_nobody_knows(tmp_path: Path) -> None:
    metric = {"name": "MOS", "unit": "points", "better": "higher", "digits": 1, "scale": 2, "title": "opinion"}
    content = {"format": 1, "metric": metric, "units_are": "files", "units": {"a": 4}, "out_of": {"a": 2}}
    score = read_score(written(tmp_path, content))
    assert score.metric == Metric("MOS", "points", "higher", 1, 2.0, "opinion")
    assert score.units_are == "files" and score.value == 4.0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read as JSON: Expecting value"),
        ('{"metric": {"name": "PESQ", "unit": "", "bet', "cannot be read as JSON: Unterminated string"),
        ("[1]", r"expected an object, found \[1\]"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("\x00", "cannot be read as JSON"),
        ({**MINIMAL, "format": 2}, "expected format 1, found 2"),
        ({"units": {"a": 1}}, "metric: expected an object, found no such key"),
        ({"metric": PESQ}, "units: expected an object, found no such key"),
        ({**MINIMAL, "metric": "PESQ"}, 'metric: expected an object, found "PESQ"'),
        ({**MINIMAL, "units": [1]}, r"units: expected an object, found \[1\]"),
        ({**MINIMAL, "units": {}}, "PESQ: expected at least one unit, found none"),
        ({**MINIMAL, "units": {"a": "1"}}, 'units.a: expected a number, found "1"'),
        ({**MINIMAL, "units": {"a": True}}, "units.a: expected a number, found true"),
        ({**MINIMAL, "units": {"a": None}}, "units.a: expected a number, found null"),
        ({**MINIMAL, "units": {"a\nb": None}}, r'units."a\\nb": expected a number, found null'),
        ({**MINIMAL, "units": {"a": 10**400}}, "units.a: expected a number of a usual size"),
        ({**MINIMAL, "units": {"a": float("nan")}}, "PESQ of a: expected a finite number, found nan"),
        ('{"metric": {"name": "X", "unit": "", "better": "lower"}, "units": {"a": 1e999}}', "X of a: .* found inf"),
        (
            '{"metric": {"name": "X", "unit": "", "better": "lower"}, "units": {"a": 1, "b": 1, "a": 2}}',
            'the key "a" stands twice in one object',
        ),
        ({**MINIMAL, "out_of": {"a": 1}}, r"PESQ of b \(1 in all\): there is a value, but not what it is out of"),
        ({**MINIMAL, "out_of": None}, "out_of: expected an object, found null"),
        ({**MINIMAL, "outof": {"a": 1}}, "outof: unknown key, expected one of format, metric, units_are"),
        ({**MINIMAL, "units_are": " "}, "PESQ: expected what its units are, found ' '"),
        ({**MINIMAL, "metric": {**PESQ, "digit": 3}}, "metric.digit: unknown key, expected one of name, unit"),
        ({**MINIMAL, "metric": {**PESQ, "digits": 3.5}}, "metric.digits: expected a whole number, found 3.5"),
        ({**MINIMAL, "metric": {**PESQ, "scale": float("inf")}}, "PESQ: expected a scale above 0 and of a usual size"),
        ({**MINIMAL, "metric": {"name": "X", "unit": ""}}, "metric.better: expected a text, found no such key"),
        ({**MINIMAL, "metric": {"name": "X", "better": "lower"}}, "metric.unit: expected a text, found no such key"),
        ({**MINIMAL, "metric": {**PESQ, "better": "high"}}, 'metric.better: expected lower or higher, found "high"'),
        # Of a known metric nobody can turn a gain into a loss.
        (
            {**MINIMAL, "metric": {**PESQ, "name": "pesq", "better": "lower"}},
            'metric.better: expected higher, as PESQ has it, found "lower"',
        ),
        ({**MINIMAL, "metric": {**PESQ, "name": "a b"}}, "expected the name of a metric in one word, found 'a b'"),
    ],
)  # fmt: skip
def test_errors(content: object, message: str, tmp_path: Path) -> None:
    written(tmp_path, content)
    with pytest.raises(FormatError, match=message) as caught:
        read_score(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/scores.json: ") and "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone/scores\.json does not exist: it holds a value for each utterance"):
        read_score(tmp_path / "gone")
    (tmp_path / "scores.json").mkdir()
    with pytest.raises(FormatError, match=r"scores\.json: cannot be read as JSON: .*[Dd]irectory"):
        read_score(tmp_path)
