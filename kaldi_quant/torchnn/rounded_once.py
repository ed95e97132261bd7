"""Functions between grids that are computed in float64 and rounded to float32 once.

In float32 their last bits differ between libraries, and a value in the middle between two steps of a grid would go to
one step here and to the other there. Recurrent cells (``recurrent_cells``) do likewise, so that streams are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x, or alpha (exp(x) - 1) where x is negative (D. Clevert et al., "Fast and accurate deep network learning by
    exponential linear units", 2016)."""
    below = x.clamp_max(0).double().exp() - 1
    return torch.relu(x) + (below if alpha == 1 else below * alpha).to(x.dtype)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return x.double().sigmoid().to(x.dtype)


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return x.double().tanh().to(x.dtype)


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x): the sigmoid is rounded once, and then the product."""
    return x * sigmoid(x)


def glu(x: Tensor, dim: int = -1) -> Tensor:
    """The first half of an axis times the sigmoid of the second; rounded as in ``silu``."""
    first, second = x.chunk(2, dim)
    return first * sigmoid(second)


def softmax(x: Tensor, dim: int) -> Tensor:
    """exp(x) divided by its sum over an axis."""
    return torch.softmax(x.double(), dim).to(x.dtype)


def layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Values less their mean over the last axes, divided by their deviation (J. Ba et al., "Layer Normalization").

    Args:
        x: (..., *normalized_shape).
        normalized_shape: the sizes of these axes.
        weight: of this shape, or None.
        bias: likewise.
        eps: is added to variances.
    """
    weight, bias = (None if value is None else value.double() for value in (weight, bias))
    return functional.layer_norm(x.double(), list(normalized_shape), weight, bias, eps).to(x.dtype)


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Values less their mean over a group of channels and all places, divided by their deviation (Y. Wu and K. He,
    "Group Normalization", 2018): what they are multiplied by, and what is added then, is rounded once.

    Args:
        x: (N, channels, *places).
        num_groups: of channels.
        weight: (channels,) or None.
        bias: (channels,) or None.
        eps: is added to variances.
    """
    found: Tensor = _GroupNorm.apply(x, num_groups, weight, bias, eps)
    return found


def norm_factors(
    x: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """What ``group_norm`` multiplies channels by, and what it adds then; (N, channels) float32."""
    groups = x.reshape(len(x), num_groups, -1).double()
    mean = groups.mean(-1, keepdim=True)
    variance = ((groups * groups).mean(-1, keepdim=True) - mean * mean).clamp_min(0)
    deviation = (variance + eps).sqrt()
    mean, deviation = (value.expand(-1, -1, x.shape[1] // num_groups).flatten(1) for value in (mean, deviation))
    scale = 1 / deviation if weight is None else weight.double() / deviation
    shift = (0 if bias is None else bias.double()) - mean * scale
    return scale.to(x.dtype), shift.to(x.dtype)


class _GroupNorm(torch.autograd.Function):
    """``group_norm``, with the gradient of torch's own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.options = num_groups, eps
        scale, shift = (
            values.view(*values.shape, *[1] * (x.dim() - 2))
            for values in norm_factors(x, num_groups, weight, bias, eps)
        )
        return x * scale + shift

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (num_groups, eps) = grad_outputs, ctx.options
        x, *learned = ctx.saved_tensors
        x = x.detach().requires_grad_()
        learned = [None if value is None else value.detach().requires_grad_() for value in learned]
        with torch.enable_grad():
            found = functional.group_norm(x, num_groups, learned[0], learned[1], eps)
        wanted = [x, *(value for value in learned if value is not None)]
        of_x, *rest = torch.autograd.grad(found, wanted, grad)
        of_learned = iter(rest)
        of_weight, of_bias = (None if value is None else next(of_learned) for value in learned)
        return of_x, None, of_weight, of_bias, None
