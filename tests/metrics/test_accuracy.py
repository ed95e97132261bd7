"""Accuracy of classes, and the matrix of confusions."""

import numpy as np
import pytest

from kaldi_quant.errors import DataError
from kaldi_quant.metrics.accuracy import accuracy, confusion_counts

LABELS = {"a": 0, "b": 1, "c": 2, "d": 2}
SAID = {"d": 2, "a": 0, "b": 2, "c": 1}


def test_right_units_count_one() -> None:
    score = accuracy(SAID, LABELS)
    assert score.per_unit == {"a": 1.0, "b": 0.0, "c": 0.0, "d": 1.0}
    assert (score.value, score.metric.name, score.units_are) == (50.0, "accuracy", "recordings")


def test_rows_are_what_is_right() -> None:
    assert np.array_equal(confusion_counts(SAID, LABELS, 3), [[1, 0, 0], [0, 0, 1], [0, 1, 1]])


def test_units_that_do_not_match() -> None:
    with pytest.raises(DataError, match=r"^c \(2 in all\) has no prediction$"):
        accuracy({"a": 0, "b": 1}, LABELS)
    with pytest.raises(DataError, match=r"^e \(1 in all\) has a prediction, but no label$"):
        confusion_counts({**SAID, "e": 1}, LABELS, 3)
    with pytest.raises(DataError, match=r"^b: expected a class from 0 to 2, found 3$"):
        confusion_counts({**SAID, "b": 3}, LABELS, 3)
