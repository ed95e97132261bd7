"""Vectors and matrices in a few words, as Kaldi prints them.

Source: ``SummarizeVector`` and ``PrintParameterStats`` in ``src/nnet3/nnet-parse.cc``.
"""

from __future__ import annotations

import math

import numpy as np

_PERCENTILES = (0, 1, 2, 5, 10, 20, 50, 80, 90, 95, 98, 99, 100)
_PERCENTILES_TEXT = "0,1,2,5 10,20,50,80,90 95,98,99,100"
# Vectors of fewer elements are printed whole.
_FEW = 10


def number(value: float, digits: int = 6) -> str:
    """A number as C++ streams print it."""
    return f"{value:.{digits}g}"


def _succinct(value: float) -> str:
    size = abs(value)
    if 10 <= size < 10000:
        return f"{value:.0f}"
    if size >= 0.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.01 else f"{value:.1g}"


def vector_summary(vector: np.ndarray) -> str:
    """The elements of a short vector, percentiles, mean and standard deviation of a long one. vector: (dim,)."""
    values = np.asarray(vector, np.float64)
    if len(values) < _FEW:
        return f"[ {''.join(f'{_succinct(value)} ' for value in values)}]"
    ordered = np.sort(values)
    chosen = [_succinct(ordered[(len(values) - 1) * percentile // 100]) for percentile in _PERCENTILES]
    groups = " ".join(",".join(chosen[begin:end]) for begin, end in ((0, 4), (4, 9), (9, 13)))
    mean, stddev = _moments(values)
    text = f"mean={number(mean, 3)}, stddev={number(stddev, 3)}"
    return f"[percentiles({_PERCENTILES_TEXT})=({groups}), {text}]"


def parameter_summary(name: str, values: np.ndarray, with_mean: bool = False, with_norms: bool = False) -> str:
    """What PrintParameterStats appends to a component's line.

    Args:
        name: of the parameters.
        values: a vector or a matrix.
        with_mean: mean and standard deviation instead of the root mean square.
        with_norms: also the norms of a matrix's rows and columns.
    """
    values = np.asarray(values, np.float64)
    if with_mean:
        mean, stddev = _moments(values)
        text = f", {name}-{{mean,stddev}}={number(mean, 4)},{number(stddev, 4)}"
    else:
        text = f", {name}-rms={number(_root_mean(values), 4)}"
    if with_norms:
        rows, columns = (np.sqrt(np.square(values).sum(axis=axis)) for axis in (1, 0))
        text += f", {name}-row-norms={vector_summary(rows)}, {name}-col-norms={vector_summary(columns)}"
    return text


def _root_mean(values: np.ndarray) -> float:
    return math.sqrt(np.square(values).mean()) if values.size else math.nan


def _moments(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation."""
    if not values.size:
        return math.nan, math.nan
    mean = float(values.mean())
    return mean, math.sqrt(max(0.0, float(np.square(values).mean()) - mean * mean))
