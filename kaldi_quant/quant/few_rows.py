"""Rows a few at a time: what is computed of them step by step stays in the processor's caches."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

# Four bytes each.
_VALUES_AT_ONCE = 1 << 18


def few_rows(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same few rows of each, views; all at once where they are not on a CPU.

    Args:
        tensors: (rows, columns), of as many rows.
    """
    yield from zip(*(x.split(rows_at_once(x)) for x in tensors), strict=True)


def rows_at_once(x: Tensor) -> int:
    """How many rows of x, (rows, columns), are given at once, at most."""
    return number_of_rows(x.shape[1]) if x.device.type == "cpu" else max(1, len(x))


def number_of_rows(columns: int) -> int:
    """How many rows of so many columns are a few."""
    return max(1, _VALUES_AT_ONCE // max(1, columns))
