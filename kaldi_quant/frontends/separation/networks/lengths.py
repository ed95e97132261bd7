"""Signals that have as many samples as the mixture, whatever a network's frames leave over."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def as_long_as(signal: Tensor, mixture: Tensor) -> Tensor:
    """A signal (..., t) with zeros behind it, or cut, so that it has the samples of a mixture (..., T): (..., T)."""
    return functional.pad(signal, (0, mixture.shape[-1] - signal.shape[-1]))
