"""One bad model does not flatten plots, and models of the same size do not hide each other."""

import pytest

from kaldi_quant.report.pages.scale import moved_apart, reach


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([14.5], 14.5),
        ([14.5, 14.8, 15.0, 100.0], 15.0),
        ([100.0, 14.5, 14.8], 14.8),
        ([14.5, 97.0], 14.5),
        ([14.5, 20.0], 20.0),
        # Most are bad: nothing is gained by cutting them.
        ([14.5, 60.0, 65.0, 70.0, 97.0], 97.0),
        ([0.0, 0.0, 3.0], 3.0),
        ([0.0], 0.0),
        ([], 0.0),
    ],
)
def test_reach(values: list[float], expected: float) -> None:
    assert reach(values, 2.5) == expected


def test_marks_of_the_same_value_stand_side_by_side() -> None:
    assert moved_apart([1.0, 3.0, 5.0], (0.0, 6.0), is_log=False) == [0.0, 0.0, 0.0]
    assert moved_apart([3.0, 5.0, 3.0], (0.0, 6.0), is_log=False) == [-5.5, 0.0, 5.5]
    assert moved_apart([3.0, 3.05, 3.1, 0.1], (0.0, 6.0), is_log=False) == [-11.0, 0.0, 11.0, 0.0]
    # On a logarithmic axis 1 % is 1 % everywhere.
    assert moved_apart([0.1, 0.101, 9.0, 10.0], (0.1, 10.0), is_log=True) == [-5.5, 5.5, 0.0, 0.0]
    assert moved_apart([2.0, 2.0], (2.0, 2.0), is_log=False) == [-5.5, 5.5]
