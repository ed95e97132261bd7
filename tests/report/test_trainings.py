"""Ways of training by several models each: means, what the intervals know, what is refused."""

from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.cli import main as cli
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.report.comparison import ComparisonOptions
from kaldi_quant.report.files.decode_folder import FixedPoint
from kaldi_quant.report.significance.bootstrap import Bootstrap
from kaldi_quant.report.trainings import TrainingComparison, compare_trainings
from tests.report.decode_folders import disturbed, real, write_folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of two ways of training that err in 2 and in 5 % of the words beside, two of each; one of another test."""
    base = tmp_path_factory.mktemp("trainings")
    references, first = real()
    for name, share, seed in (("a0", 0.02, 0), ("a1", 0.02, 1), ("b0", 0.05, 2), ("b1", 0.05, 3)):
        write_folder(base / name, references, {"16_1.0": disturbed(first, share, seed)})
    write_folder(base / "other", {"u1": ["a"]}, {"16_1.0": {"u1": ["a"]}})
    return base


def compared(folders: Path, **groups: str) -> TrainingComparison:
    arguments = [
        f"{name}={','.join(str(folders / folder) for folder in those.split())}" for name, those in groups.items()
    ]
    return compare_trainings(arguments, ComparisonOptions(replications=1000))


def test_rows(folders: Path) -> None:
    comparison = compared(folders, a="a0 a1", b="b0 b1")
    first, second = comparison.rows
    assert (comparison.unit, comparison.units) == ("utterances", 400)
    assert [row.name for row in comparison.rows] == ["a", "b"] and first.versus is None
    assert first.mean == pytest.approx(sum(first.values) / 2)
    assert first.deviation == pytest.approx(abs(first.values[0] - first.values[1]) / 2**0.5)
    assert second.versus is not None and second.versus.p_value < 0.01
    assert second.versus.difference == pytest.approx(second.mean - first.mean)
    assert second.interval.low < second.mean < second.interval.high


def test_single_models_are_compared_as_everywhere(folders: Path) -> None:
    row = compared(folders, a="a0", b="b0").rows[1]
    assert row.deviation is None
    errors = np.array([[1, 2], [3, 3], [0, 4]])
    bootstrap = Bootstrap(errors, np.full(3, 10), 1000, scale=100)
    assert bootstrap.compare_means([1], [0]) == bootstrap.compare(1, 0)
    assert bootstrap.mean_interval([1]) == bootstrap.interval(1)


def test_chance_in_training_widens_the_interval() -> None:
    # All utterances err alike, so that only which model is drawn makes a difference: rates of 10, 30 and of 20 %.
    errors = np.tile([1, 3, 2], (50, 1))
    bootstrap = Bootstrap(errors, np.full(50, 10), 4000, scale=100)
    found = bootstrap.compare_means([0, 1], [2])
    assert found.difference == pytest.approx(0)
    assert (found.interval.low, found.interval.high) == pytest.approx((-10, 10)) and found.p_value == 1
    # Both, or one of them twice.
    drawn = bootstrap._mean_scores([0, 1], np.random.default_rng(1))
    assert [np.mean(np.isclose(drawn, rate)) for rate in (10, 20, 30)] == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        ({"a": "a0 a0"}, UsageError, "a0 is given twice: only different models show"),
        ({"a": "a0", "b": "a0"}, UsageError, "a0 is given twice"),
        ({"a": "a0", "b": "missing"}, DataError, "missing does not exist"),
        ({"a": "a0 other"}, DataError, "different test sets"),
    ],
)
def test_what_is_refused(folders: Path, groups: dict[str, str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        compared(folders, **groups)


@pytest.mark.parametrize("arguments", [["a"], ["=b"], ["a="], ["a=,"]])
def test_arguments_need_names_and_folders(arguments: list[str]) -> None:
    with pytest.raises(UsageError, match="expected NAME=folder,folder"):
        compare_trainings(arguments)


def test_a_name_stands_for_one_way(folders: Path) -> None:
    with pytest.raises(UsageError, match="two training methods are called a"):
        compare_trainings([f"a={folders}/a0", f"a={folders}/a1"])


def test_a_fixed_point(folders: Path) -> None:
    with pytest.raises(DataError, match="was not scored at LMWT 9"):
        compare_trainings([f"a={folders}/a0"], ComparisonOptions(FixedPoint(9)))


def test_the_verb(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f"a={folders}/a0,{folders}/a1", f"b={folders}/b0"]
    assert cli.run(["compare-trainings", "--replications", "200", *arguments]) == 0
    head, first, second, *notes = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["#", "name", "models", "mean-WER"] and all(note.startswith("# ") for note in notes)
    assert first.split()[:2] == ["a", "2"] and first.split()[-1].count(",") == 1
    assert second.split()[:2] == ["b", "1"] and second.split()[3] == "-" and second.split()[5].startswith("+")
    assert cli.run(["compare-trainings", "a"]) == 1
    assert "expected NAME=folder,folder,…, found 'a'" in capsys.readouterr().err
