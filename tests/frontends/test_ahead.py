"""Threads that make results before they are asked for change nothing about them."""

import threading
import time

import pytest

from kaldi_quant.frontends.ahead import ahead


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_order(workers: int) -> None:
    def make(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    assert list(ahead(make, range(20), workers)) == [number * number for number in range(20)]


def test_no_more_than_is_wanted_is_made_ahead() -> None:
    made: list[int] = []
    results = ahead(lambda number: made.append(number) or number, range(100), 2)
    assert [next(results), next(results)] == [0, 1]
    results.close()  # type: ignore[attr-defined]
    assert len(made) <= 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_an_error_is_raised_in_its_place() -> None:
    def make(number: int) -> int:
        if number == 3:
            raise ValueError("the third")
        return number

    results = ahead(make, range(10), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the third"):
        next(results)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
