"""The matched-pairs sentence-segment word error test: do two systems err equally often in independent segments?

An utterance is cut wherever two consecutive words are correct in both systems, with nothing inserted between them; the
differences between the systems' errors in the pieces that hold errors have a mean that is normally distributed.

Where only few segments differ the normal distribution promises too much: four that are all worse would be significant.
Therefore an exact test on the same segments stands beside it: if the systems are equally good, the difference in each
segment might as well have had the other sign (R. A. Fisher, "The Design of Experiments", 1935).

Source: L. Gillick and S. Cox, "Some statistical issues in the comparison of speech recognition algorithms", 1989; the
same segments and the same statistic as ``sc_stats -t mapsswe`` of NIST's SCTK.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from kaldi_quant.report.significance.alignment import ErrorSlots

# Consecutive correct words that separate two segments, as sc_stats has it.
_BUFFER_WORDS = 2


@dataclass(frozen=True)
class MatchedPairs:
    """The test's result.

    Attributes:
        segments: how many there are.
        mean, deviation: of the first system's errors minus the second's, per segment.
        z: mean over its standard error; 0 where no segment differs from another, as sc_stats has it.
        p_value: two-tailed.
        differing: in how many segments the systems have different numbers of errors.
        exact_p_value: two-tailed, of the same mean over all choices of the differences' signs.
    """

    segments: int
    mean: float
    deviation: float
    z: float
    p_value: float
    differing: int
    exact_p_value: float


def segment_errors(first: ErrorSlots, second: ErrorSlots) -> list[tuple[int, int]]:
    """The errors of both systems in each segment of an utterance.

    Args:
        first, second: the errors of the systems in the same reference.
    """
    segments: list[tuple[int, int]] = []
    errors, correct = [0, 0], 0
    words = len(first.wrong)
    for position in range(words + 1):
        for system, slots in enumerate((first, second)):
            errors[system] += slots.inserted[position]
        if first.inserted[position] or second.inserted[position]:
            correct = 0
        if position == words:
            break
        wrong = first.wrong[position], second.wrong[position]
        for system, is_wrong in enumerate(wrong):
            errors[system] += is_wrong
        correct = 0 if any(wrong) else correct + 1
        if correct == _BUFFER_WORDS and any(errors):
            segments.append((errors[0], errors[1]))
            errors = [0, 0]
    if any(errors):
        segments.append((errors[0], errors[1]))
    return segments


def matched_pairs(pairs: Iterable[tuple[ErrorSlots, ErrorSlots]]) -> MatchedPairs:
    """Tests two systems.

    Args:
        pairs: the errors of the first and of the second in each utterance.
    """
    differences = [one - other for pair in pairs for one, other in segment_errors(*pair)]
    number = len(differences)
    differing, exact = sum(map(bool, differences)), exact_p_value(differences)
    mean = sum(differences) / number if number else 0.0
    squares = sum((difference - mean) ** 2 for difference in differences)
    if not squares:
        return MatchedPairs(number, mean, 0.0, 0.0, 1.0, differing, exact)
    deviation = math.sqrt(squares / (number - 1))
    z = mean / (deviation / math.sqrt(number))
    return MatchedPairs(number, mean, deviation, z, math.erfc(abs(z) / math.sqrt(2)), differing, exact)


def exact_p_value(differences: list[int]) -> float:
    """The share of all choices of signs whose sum is as far from zero as that of the differences, or farther."""
    sizes = [abs(difference) for difference in differences if difference]
    middle = sum(sizes)
    # The probability of each sum from -middle to middle.
    chances = np.zeros(2 * middle + 1)
    chances[middle] = 1.0
    for size in sizes:
        chances = 0.5 * (np.roll(chances, size) + np.roll(chances, -size))
    distances = np.abs(np.arange(-middle, middle + 1))
    return float(chances[distances >= abs(sum(differences))].sum())
