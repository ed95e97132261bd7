"""Groups of consecutive columns of a weight's row that share a scale.

The columns of a row, (..., in), are cut into groups of one size; the last one may be shorter. This has nothing to do
with groups of an input's columns, which meet rows of their own (``grouped``). A size of 0 means one group.

Source of the idea: S. Shen et al., "Q-BERT: Hessian Based Ultra Low Precision Quantization of BERT", AAAI 2020.
"""

from __future__ import annotations

import torch
from torch import Tensor


def count_groups(columns: int, size: int) -> int:
    """How many groups a row of so many columns has."""
    return -(-columns // size) if size else 1


def bounds_of(columns: int, size: int) -> list[slice]:
    """The columns of each group."""
    size = size or columns
    return [slice(begin, min(begin + size, columns)) for begin in range(0, columns, size)]


def blocked(values: Tensor, size: int) -> Tensor:
    """(..., in) → (..., groups, size): a group in each row; a last one that is shorter ends with zeros."""
    missing = -values.shape[-1] % size
    return torch.nn.functional.pad(values, (0, missing)).unflatten(-1, (-1, size))


def by_column(values: Tensor, columns: int, size: int) -> Tensor:
    """(..., groups) → (..., in): for each column what its group has; (..., 1) where all have one."""
    return values if not size else values.repeat_interleave(min(size, columns), dim=-1)[..., :columns]


def by_group_of(values: Tensor, size: int) -> Tensor:
    """(..., in) → (..., groups): what ``by_column`` was given; (..., 1) stay as they are."""
    return values[..., ::size] if size and values.dim() else values
