"""Matrices of second moments made safe to invert, whatever the calibration set was: silence, one frame, constants."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

#: Added to the diagonal, as a share of its mean: the default of GPTQ's authors.
DAMPING = 0.01

# Each failed factorisation raises the damping so many times; beyond the last only the diagonal counts.
_GROWTH, _TRIALS = 10.0, 6


def damped_factor(hessian: Tensor, damping: float = DAMPING) -> tuple[Tensor, Tensor]:
    """A positive definite matrix near one of second moments, and its triangular factor.

    Columns without any input get a one on the diagonal, so that they stay by themselves.

    Args:
        hessian: (..., in, in), symmetric and, but for rounding, positive semidefinite.
        damping: what is added to the diagonal, as a share of its mean.

    Returns:
        The matrix, and the lower triangular L with L L^T equal to it: (..., in, in) float64 each.
    """
    if hessian.dim() > 2:
        pairs = [damped_factor(part, damping) for part in hessian]
        return torch.stack([matrix for matrix, _ in pairs]), torch.stack([factor for _, factor in pairs])
    h = hessian.double().clone()
    diagonal = h.diagonal()
    dead = diagonal <= 0
    if dead.any():
        h[dead] = 0.0
        h[:, dead] = 0.0
    mean = float(diagonal.mean()) or 1.0
    diagonal[dead] = mean
    for trial in range(_TRIALS):
        regularized = h.clone()
        regularized.diagonal().add_(damping * mean * _GROWTH**trial)
        factor, failed = torch.linalg.cholesky_ex(regularized)
        if not int(failed):
            return regularized, factor
    return torch.diag(diagonal + mean), torch.diag((diagonal + mean).sqrt())


@dataclass(frozen=True)
class OrderedFactor:
    """A damped matrix of second moments, and what tells how columns that come later make up for errors of earlier ones.

    Args:
        matrix: (..., in, in) float64, as of ``damped_factor``.
        order: (..., in) int64, columns of large input first.
        factor: (..., in, in) float64, upper triangular U with U U^T equal to the matrix in that order.
    """

    matrix: Tensor
    order: Tensor
    factor: Tensor


def ordered_factor(hessian: Tensor, damping: float = DAMPING) -> OrderedFactor:
    """The factor of a matrix of second moments, (..., in, in), by one decomposition.

    With J, which turns the order of rows around, and J H J = L L^T, it is J L J.
    """
    if hessian in _KNOWN and _KNOWN[hessian][0] == damping:
        return _KNOWN[hessian][1]
    order = torch.argsort(hessian.diagonal(dim1=-2, dim2=-1), descending=True, stable=True)
    matrix, factor = damped_factor(_permuted(hessian, order.flip(-1)), damping)
    back = torch.argsort(order.flip(-1))
    found = OrderedFactor(_permuted(matrix, back), order, factor.flip(-2, -1))
    _KNOWN[hessian] = damping, found
    return found


# For matrices as long as they exist the damping and the factor: a weight that is rounded to several widths has one.
_KNOWN: MutableMapping[Tensor, tuple[float, OrderedFactor]] = WeakTensorKeyDictionary()


def _permuted(matrix: Tensor, order: Tensor) -> Tensor:
    """Rows and columns in an order, (..., in)."""
    if matrix.dim() > 2:
        return torch.stack([_permuted(part, each) for part, each in zip(matrix, order, strict=True)])
    return matrix[order][:, order]
