"""Integer grids fitted to data: the two roundings between floats and integers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kaldi_quant.quant.few_rows import few_rows
from kaldi_quant.quant.spec import QSpec

# Scales below this would overflow float32 when they divide: a tensor that is zero everywhere gets a scale of one.
SMALLEST_SCALE = 1e-30


@dataclass(frozen=True)
class Grid:
    """value = (integer - zero_point) * scale.

    Args:
        spec: width and kind.
        scale: float32, () for the whole tensor or shaped to broadcast with it; where groups of a weight's columns have
            scales of their own, (..., out, in), a value for each column.
        zero_point: int32, like ``scale``; inside the grid.
    """

    spec: QSpec
    scale: Tensor
    zero_point: Tensor

    @classmethod
    def from_range(cls, spec: QSpec, low: Tensor, high: Tensor) -> Grid:
        """The grid over [low, high], widened to contain zero.

        Args:
            spec: width and kind.
            low: float, any shape.
            high: float, the same shape, not below ``low``.
        """
        low, high = low.double().clamp_max(0.0), high.double().clamp_min(0.0)
        if spec.symmetric:
            bound = torch.maximum(-low, high) if spec.signed else high
            scale = _positive(bound / spec.qmax)
            zero_point = torch.zeros_like(scale)
        elif spec.centred:
            scale = _positive(torch.maximum(-low, high) / (spec.qmax - spec.middle))
            zero_point = torch.full_like(scale, spec.middle)
        else:
            scale = _positive((high - low) / (spec.qmax - spec.qmin))
            zero_point = (spec.qmin - low / scale.double()).round().clamp(spec.qmin, spec.qmax)
        return cls(spec, scale, zero_point.to(torch.int32))

    def quantize(self, x: Tensor) -> Tensor:
        """Integers, int32. x: float, any shape that broadcasts with the scale."""
        return self.integers_of(x / self.scale.to(x.dtype))

    def dequantize(self, integers: Tensor) -> Tensor:
        """float32 values of integers."""
        return (integers - self.zero_point).float() * self.scale

    def fake(self, x: Tensor) -> Tensor:
        """x rounded to the grid, in its own dtype."""
        has_gradient = torch.is_grad_enabled() and x.requires_grad
        if x.dtype != torch.float32 or x.dim() < 2 or self.scale.dim() > 1 or has_gradient or not x.is_contiguous():
            return self.round_steps(x / self.scale.to(x.dtype)).to(x.dtype)
        # The same steps without temporary values, which take longer to come and go than to be computed.
        found, zero_point = torch.empty_like(x), self.zero_point.float()
        for rows, steps in few_rows(x.flatten(0, -2), found.flatten(0, -2)):
            torch.div(rows, self.scale, out=steps).round_().add_(zero_point)
            steps.clamp_(self.spec.qmin, self.spec.qmax).sub_(zero_point).mul_(self.scale)
        return found

    def round_steps(self, steps: Tensor) -> Tensor:
        """Values on the grid, float32, of what is given in steps of the scale, not yet rounded."""
        # Floats hold all integers of a grid, and what they do not hold is clamped.
        found = steps.round() + self.zero_point
        found = found.clamp_(self.spec.qmin, self.spec.qmax).sub_(self.zero_point)
        return found.float() * self.scale

    def integers_of(self, steps: Tensor) -> Tensor:
        """Integers, int32, of what is given in steps of the scale from the zero point, not yet rounded."""
        return (steps.round() + self.zero_point).clamp(self.spec.qmin, self.spec.qmax).to(torch.int32)


def same_grid(one: Grid, other: Grid) -> bool:
    """Whether integers of two grids mean the same."""
    return one is other or (
        one.spec == other.spec
        and one.scale.shape == other.scale.shape
        and bool((one.scale == other.scale).all())
        and bool((one.zero_point == other.zero_point).all())
    )


def _positive(scale: Tensor) -> Tensor:
    return torch.where(scale > SMALLEST_SCALE, scale, torch.ones_like(scale)).float()
