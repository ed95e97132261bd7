"""Rounding to an integer grid that gradients go through, and whose scale and zero point are learned.

Source: S. Esser et al., "Learned step size quantization", ICLR 2020 (LSQ); Y. Bhalgat et al., "LSQ+: improving
low-bit quantization through learnable offsets and better initialization", CVPR workshops 2020.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.repeated import Repeated
from kaldi_quant.quant.scale_groups import by_column
from kaldi_quant.quant.spec import QSpec


class _Round(torch.autograd.Function):
    """Rounds to a grid; the gradient passes where the value lies on it (straight-through estimator)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int) -> Tensor:
        ctx.save_for_backward(x, scale, zero_point)
        ctx.limits = (qmin, qmax)
        return ((x / scale).round_().add_(zero_point).clamp_(qmin, qmax).sub_(zero_point)).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, zero_point = ctx.saved_tensors
        qmin, qmax = ctx.limits
        (grad,) = grad_outputs
        steps = x / scale
        unclamped = steps.round().add_(zero_point)
        integers = unclamped.clamp(qmin, qmax)
        inside = integers == unclamped
        grad_x = grad * inside
        grad_scale = grad_zero = None
        if ctx.needs_input_grad[1]:
            slope = integers.sub_(zero_point).sub_(steps.mul_(inside))
            grad_scale = (grad * slope).sum_to_size(scale.shape)
        if ctx.needs_input_grad[2]:
            grad_zero = (grad_x - grad).mul_(scale).sum_to_size(zero_point.shape)
        return grad_x, grad_scale, grad_zero, None, None


class FakeGrid(Repeated):
    """A grid with a learned scale and, where its zero point is fitted, a learned zero point.

    Learned are the logarithm of the scale's ratio to the first one and the zero point's shift as a share of the grid,
    so that a step means the same whatever the values' size.

    Args:
        grid: to begin with.
        elements: how many values share a scale: gradients are multiplied by 1 / sqrt(elements * qmax), as in LSQ.
        learned: whether it is learned; else it stays.
        zero_learned: whether the zero point is, too.
        columns: of a weight, where groups of them have scales of their own: ``grid`` then has those of the groups, and
            ``scale`` and ``zero_point`` of this those of columns.
        together: whether scales of ``grid`` have one ratio to what they were: those of the rows of a weight with one
            scale, where a row of zeros may have another for its bias.
    """

    scale_0: Tensor
    zero_0: Tensor

    def __init__(
        self,
        grid: Grid,
        elements: int,
        learned: bool = True,
        zero_learned: bool = True,
        columns: int = 0,
        together: bool = False,
    ) -> None:
        super().__init__()
        self.spec: QSpec = grid.spec
        self.columns = columns
        self.register_buffer("scale_0", grid.scale.clone())
        self.register_buffer("zero_0", grid.zero_point.float())
        self.gradient_scale = (elements * grid.spec.qmax) ** -0.5
        self.ratio = nn.Parameter(torch.zeros(()) if together else torch.zeros_like(grid.scale)) if learned else None
        fitted = learned and zero_learned and grid.spec.is_fitted
        self.shift = nn.Parameter(torch.zeros_like(grid.scale)) if fitted else None

    @property
    def scale(self) -> Tensor:
        """Positive, like the first one."""
        if self.ratio is None:
            return self._by_column(self.scale_0)
        return self._by_column(self.scale_0 * slower(self.ratio, self.gradient_scale).exp())

    @property
    def zero_point(self) -> Tensor:
        """float32, an integer inside the grid; gradients pass through its rounding."""
        if self.shift is None:
            return self._by_column(self.zero_0)
        qmin, qmax = self.spec.qmin, self.spec.qmax
        exact = (self.zero_0 + slower(self.shift, self.gradient_scale) * (qmax - qmin)).clamp(qmin, qmax)
        return self._by_column(exact + (exact.round() - exact).detach())

    def forward(self, x: Tensor) -> Tensor:
        """x rounded to the grid; x: float, any shape that broadcasts with the scale; bfloat16 becomes float32."""
        scale, zero_point = self.once(lambda: (self.scale, self.zero_point))
        return round_through(not_narrow(x), scale, zero_point, self.spec.qmin, self.spec.qmax)

    def rounded(self, steps: Tensor) -> Tensor:
        """Values in steps from the zero point, any shape that broadcasts with it, rounded to the grid's integers."""
        one = torch.ones((), dtype=steps.dtype, device=steps.device)
        return round_through(steps, one, self.zero_point, self.spec.qmin, self.spec.qmax)

    @torch.no_grad()
    def grid(self) -> Grid:
        """The grid as it is now."""
        zero_point = self.zero_point.round().to(torch.int32)
        return Grid(self.spec, self.scale.detach().clone(), zero_point.clone())

    def _by_column(self, values: Tensor) -> Tensor:
        return by_column(values, self.columns, self.spec.group_size) if self.columns else values

    def learned(self) -> dict[str, nn.Parameter]:
        """What is learned."""
        return dict(self.named_parameters(recurse=False))


def round_through(x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int) -> Tensor:
    """x rounded to a grid of that scale and zero point; the gradients are those of LSQ and LSQ+."""
    rounded: Tensor = _Round.apply(x, scale, zero_point, qmin, qmax)
    return rounded


def not_narrow(x: Tensor) -> Tensor:
    """float32 of bfloat16, which has too few digits for grids; others as they are."""
    return x.float() if x.dtype == torch.bfloat16 else x


def slower(parameter: Tensor, factor: float) -> Tensor:
    """The parameter, its gradient multiplied by a factor."""
    return (parameter - parameter * factor).detach() + parameter * factor
