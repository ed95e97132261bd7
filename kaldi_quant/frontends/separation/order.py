"""Which of several signals is which: the best of all permutations, never one pair after the other."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from kaldi_quant.frontends.signals.stft import Array


def best_order(closeness: Array) -> list[int]:
    """The places of given signals for each wanted one, so that the sum is highest; of equal ones the first.

    Args:
        closeness: (given, wanted), as many of both; higher is closer.

    Example:
        >>> best_order(np.array([[9.0, 8.0], [8.0, 1.0]]))
        [1, 0]
    """
    count = len(closeness)
    if np.all(closeness == closeness[:1, :1]):
        return list(range(count))
    rows, columns = linear_sum_assignment(closeness, maximize=True)
    found = [int(row) for _, row in sorted(zip(columns, rows, strict=True))]
    kept = float(np.trace(closeness))
    # Where nothing speaks for another order, signals stay where they are.
    return list(range(count)) if kept >= float(closeness[rows, columns].sum()) else found
