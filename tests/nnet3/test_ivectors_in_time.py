"""Which i-vector belongs to a frame."""

import numpy as np
import pytest

from kaldi_quant.errors import DataError
from kaldi_quant.nnet3.ivectors_in_time import IvectorsInTime

ROWS = np.arange(10, dtype=np.float32).reshape(5, 2)


def test_a_row_lasts_for_a_period_and_the_last_one_a_little_longer() -> None:
    ivectors = IvectorsInTime(2, {"u": ROWS}.get, 10)
    rows = ivectors.of("u")
    found = [ivectors.at(rows, frame) for frame in (0, 9, 10, 49, 50, 99)]
    assert [None if row is None else row.tolist() for row in found] == [ROWS[i].tolist() for i in (0, 0, 1, 4, 4, 4)]
    with pytest.raises(DataError, match="no i-vector for frame 100: 5 rows, one every 10 frames"):
        ivectors.at(rows, 100)


def test_one_of_an_utterance_is_that_of_all_frames() -> None:
    ivectors = IvectorsInTime(2, {"u": ROWS[1]}.get)
    row = ivectors.at(ivectors.of("u"), 1000)
    assert row is not None and row.tolist() == ROWS[1].tolist()


def test_a_network_without_them_takes_none() -> None:
    ivectors = IvectorsInTime(0, {"u": ROWS}.get, 10)
    assert ivectors.of("u") is None and ivectors.at(None, 3) is None


@pytest.mark.parametrize(
    ("dim", "name", "sentence"),
    [
        (2, "other", "the model needs i-vectors of dimension 2, and there are none for it"),
        (3, "u", "its i-vectors have 2 columns, the model needs 3"),
        (2, "broken", "its i-vectors are not finite"),
        (2, "empty", "there are none for it"),
    ],
)
def test_what_cannot_be_used(dim: int, name: str, sentence: str) -> None:
    table = {"u": ROWS, "broken": ROWS * np.float32(np.nan), "empty": ROWS[:0]}
    with pytest.raises(DataError, match=sentence):
        IvectorsInTime(dim, table.get, 10).of(name)
    with pytest.raises(DataError, match="there are none for it"):
        IvectorsInTime(dim).of("u")


def test_online_ones_need_a_period() -> None:
    ivectors = IvectorsInTime(2, {"u": ROWS}.get)
    with pytest.raises(DataError, match="online i-vectors need --online-ivector-period"):
        ivectors.at(ivectors.of("u"), 0)
