"""Products of groups: each group of an input's columns meets only rows of its own, as in grouped convolutions.

An input has (..., groups * in) columns, group after group. The weight is (out, in): the first out / groups rows are the
first group's, and so on. One group is an ordinary product.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def grouped_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, groups: int = 1) -> Tensor:
    """The product of an input and a weight.

    Args:
        x: (..., groups * in).
        weight: (out, in).
        bias: (out,) or None.
        groups: of columns.

    Returns:
        (..., out).
    """
    if groups == 1:
        return functional.linear(x, weight, bias)
    rows = x.reshape(-1, groups, weight.shape[1]).transpose(0, 1)
    sums = (rows @ by_group(weight, groups).mT).transpose(0, 1).reshape(*x.shape[:-1], len(weight))
    return sums if bias is None else sums + bias


def by_group(rows: Tensor, groups: int) -> Tensor:
    """(out, ...) → (groups, out / groups, ...); of one group the rows as they are."""
    return rows if groups == 1 else rows.unflatten(0, (groups, -1))


def cross_moments(x: Tensor, y: Tensor, groups: int) -> Tensor:
    """The sum over rows of outer products within groups.

    Args:
        x: (rows, groups * in), or (groups * in,) for a single row.
        y: like x.
        groups: of columns.

    Returns:
        (in, in), or (groups, in, in); columns of x down, of y across.
    """
    x, y = torch.atleast_2d(x), torch.atleast_2d(y)
    if groups == 1:
        return x.T @ y
    x, y = (values.unflatten(1, (groups, -1)).transpose(0, 1) for values in (x, y))
    return x.mT @ y


def quadratic(weight: Tensor, moments: Tensor) -> Tensor:
    """W M W': (out, out), with zeros between groups.

    Args:
        weight: (out, in).
        moments: (in, in), or (groups, in, in).
    """
    if moments.dim() == 2:
        return weight @ moments @ weight.T
    rows = by_group(weight, len(moments))
    return torch.block_diag(*(rows @ moments @ rows.mT))


def groups_of(moments: Tensor) -> int:
    """How many groups second moments are of; moments: (in, in), or (groups, in, in)."""
    return len(moments) if moments.dim() > 2 else 1
