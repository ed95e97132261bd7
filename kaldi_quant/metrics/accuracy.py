"""How many recordings are classified rightly, and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.metrics.known import ACCURACY
from kaldi_quant.metrics.score import Score, shown_name


def accuracy(predictions: Mapping[str, int], labels: Mapping[str, int], units_are: str = "recordings") -> Score:
    """The share of units whose class was found.

    Args:
        predictions: unit → the number of the class that a network says.
        labels: unit → the number of the class that is right, of the same units.
        units_are: what they are, in the plural.

    Returns:
        A score with 1 for each right unit and 0 for each other, for ``scores.json``.

    Raises:
        DataError: there are no units, or one lacks a prediction or a label; names it.

    Example:
        >>> accuracy({"a": 3, "b": 1}, {"a": 3, "b": 2}).value
        50.0
    """
    _check_units(predictions, labels)
    right = {unit: float(predictions[unit] == label) for unit, label in labels.items()}
    return Score(ACCURACY, right, units_are=units_are)


def confusion_counts(predictions: Mapping[str, int], labels: Mapping[str, int], classes: int) -> np.ndarray:
    """How often each class was taken for each.

    Args:
        predictions: unit → the number of the class that a network says.
        labels: unit → the number of the class that is right, of the same units.
        classes: how many classes there are.

    Returns:
        (classes, classes) int64: rows are what is right, columns what was said.

    Raises:
        DataError: a unit lacks a prediction or a label, or has a class of another number; names the unit.
    """
    _check_units(predictions, labels)
    counts = np.zeros((classes, classes), np.int64)
    for unit, label in labels.items():
        for found in (label, predictions[unit]):
            if not 0 <= found < classes:
                raise DataError(f"{shown_name(unit)}: expected a class from 0 to {classes - 1}, found {found}")
        counts[label, predictions[unit]] += 1
    return counts


def _check_units(predictions: Mapping[str, int], labels: Mapping[str, int]) -> None:
    for ones, others, problem in (
        (labels, predictions, "no prediction"),
        (predictions, labels, "a prediction, but no label"),
    ):
        lacking = [unit for unit in ones if unit not in others]
        if lacking:
            raise DataError(f"{shown_name(lacking[0])} ({len(lacking)} in all) has {problem}")
