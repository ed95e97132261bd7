"""Words beside words as NIST's sclite puts them, without ever having more errors than Kaldi counts.

The alignment has the fewest errors (Kaldi's edit distance); of equals the most correct words, which is what sclite's
costs of 3, 3 and 4 for insertions, deletions and substitutions prefer; and from the end on two words beside each other
win over a deletion, and that over an insertion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# An error costs this much, a substitution one more: longer utterances than this have no order among equals.
_ERROR = 1 << 20


@dataclass(frozen=True)
class ErrorSlots:
    """Where in a reference a hypothesis errs.

    Attributes:
        inserted: (words + 1,) words inserted before each word of the reference, and behind the last.
        wrong: (words,) whether a word of the reference is deleted or substituted.
    """

    inserted: list[int]
    wrong: list[bool]

    @property
    def total(self) -> int:
        """All errors."""
        return sum(self.inserted) + sum(self.wrong)


def error_slots(reference: list[str], hypothesis: list[str]) -> ErrorSlots:
    """Aligns one utterance."""
    inserted, wrong = [0] * (len(reference) + 1), [False] * len(reference)
    if reference == hypothesis:
        return ErrorSlots(inserted, wrong)
    costs = _costs(reference, hypothesis)
    row, column = len(reference), len(hypothesis)
    while row or column:
        differ = row > 0 and column > 0 and reference[row - 1] != hypothesis[column - 1]
        if row and column and costs[row, column] == costs[row - 1, column - 1] + differ * (_ERROR + 1):
            row, column = row - 1, column - 1
            wrong[row] = differ
        elif row and costs[row, column] == costs[row - 1, column] + _ERROR:
            row -= 1
            wrong[row] = True
        else:
            column -= 1
            inserted[row] += 1
    return ErrorSlots(inserted, wrong)


def _costs(reference: list[str], hypothesis: list[str]) -> np.ndarray:
    """(reference + 1, hypothesis + 1): the cost between the first words of one and the first of the other."""
    columns = np.arange(len(hypothesis) + 1, dtype=np.int64) * _ERROR
    words = np.array(hypothesis, object)
    costs = np.empty((len(reference) + 1, len(columns)), np.int64)
    costs[0] = columns
    for row, word in enumerate(reference, 1):
        without_insertions = costs[row - 1] + _ERROR
        substituted = costs[row - 1, :-1] + (words != word) * (_ERROR + 1)
        without_insertions[1:] = np.minimum(without_insertions[1:], substituted)
        # An insertion costs the same for each column to the left that the path comes from.
        costs[row] = np.minimum.accumulate(without_insertions - columns) + columns
    return costs
