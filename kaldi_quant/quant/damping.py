"""Matrices of second moments made safe to invert, whatever the calibration set was: silence, one frame, constants."""

from __future__ import annotations

import torch
from torch import Tensor

#: Added to the diagonal, as a share of its mean: the default of GPTQ's authors.
DAMPING = 0.01

# Each failed factorisation raises the damping so many times; beyond the last only the diagonal counts.
_GROWTH, _TRIALS = 10.0, 6


def damped(hessian: Tensor, damping: float = DAMPING) -> Tensor:
    """A positive definite matrix near one of second moments.

    Columns without any input get a one on the diagonal, so that they stay by themselves.

    Args:
        hessian: (..., in, in), symmetric and, but for rounding, positive semidefinite.
        damping: what is added to the diagonal, as a share of its mean.

    Returns:
        (..., in, in) float64.
    """
    if hessian.dim() > 2:
        return torch.stack([damped(part, damping) for part in hessian])
    h = hessian.double().clone()
    diagonal = h.diagonal()
    dead = diagonal <= 0
    h[dead] = 0.0
    h[:, dead] = 0.0
    mean = float(diagonal.mean()) or 1.0
    diagonal[dead] = mean
    for trial in range(_TRIALS):
        regularized = h.clone()
        regularized.diagonal().add_(damping * mean * _GROWTH**trial)
        if not int(torch.linalg.cholesky_ex(regularized).info):
            return regularized
    return torch.diag(diagonal + mean)


def inverse_factor(matrix: Tensor) -> Tensor:
    """The upper triangular U with inverse(matrix) = U^T U. matrix: (..., in, in) positive definite, from ``damped``."""
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(matrix)), upper=True)
