"""Functions between grids that are computed in float64 and rounded to float32 once.

In float32 their last bits differ between libraries, and a value in the middle between two steps of a grid would go to
one step here and to the other there. Recurrent cells (``recurrent_cells``) do likewise, so that streams are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Map = Callable[[Tensor], Tensor]
Normalize = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]
# So many values at a time: 512 kB in float64.
_BLOCK = 1 << 16


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x, or alpha (exp(x) - 1) where x is negative (D. Clevert et al., "Fast and accurate deep network learning by
    exponential linear units", 2016)."""

    def below(y: Tensor) -> Tensor:
        y = y.exp() - 1
        return y if alpha == 1 else y * alpha

    return torch.relu(x) + _of_each(x.clamp_max(0), below, lambda y: y + alpha)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return _of_each(x, torch.sigmoid, lambda y: y * (1 - y))


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return _of_each(x, torch.tanh, lambda y: 1 - y * y)


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x): the sigmoid is rounded once, and then the product."""
    return x * sigmoid(x)


def glu(x: Tensor, dim: int = -1) -> Tensor:
    """The first half of an axis times the sigmoid of the second; rounded as in ``silu``."""
    first, second = x.chunk(2, dim)
    return first * sigmoid(second)


def softmax(x: Tensor, dim: int) -> Tensor:
    """exp(x) divided by its sum over an axis."""
    return _with_gradient(x, partial(_softmax, dim=dim), partial(_softmax_gradient, dim=dim))


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
    shape = list(normalized_shape)

    def torchs(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        return functional.layer_norm(x, shape, weight, bias, eps)

    def own(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        weight, bias = (None if value is None else value.double() for value in (weight, bias))
        return _in_blocks(
            x.reshape(math.prod(x.shape[: -len(shape)]), *shape), lambda rows: torchs(rows, weight, bias)
        ).view(x.shape)

    return _with_torchs_gradient(own, torchs, x, weight, bias)


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

    def torchs(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        return functional.group_norm(x, num_groups, weight, bias, eps)

    def own(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        factors = norm_factors(x, num_groups, weight, bias, eps)
        scale, shift = (values.view(*values.shape, *[1] * (x.dim() - 2)) for values in factors)
        return x * scale + shift

    return _with_torchs_gradient(own, torchs, x, weight, bias)


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


def _of_each(x: Tensor, function: Map, derivative: Map) -> Tensor:
    """A function of each value; its derivative is told of its results. The order in memory stays."""

    def rounded(y: Tensor) -> Tensor:
        if y.numel() <= _BLOCK:
            return function(y.double()).to(y.dtype)
        order = sorted(range(y.dim()), key=y.stride, reverse=True)
        flat = _in_blocks(y.permute(order).reshape(-1), function)
        return flat.view([y.shape[axis] for axis in order]).permute([order.index(axis) for axis in range(y.dim())])

    return _with_gradient(x, rounded, lambda grad, y: grad * derivative(y))


def _softmax(x: Tensor, dim: int) -> Tensor:
    if x.numel() <= _BLOCK:
        return torch.softmax(x.double(), dim).to(x.dtype)
    rows = x.movedim(dim, -1)
    found = _in_blocks(rows.reshape(-1, x.shape[dim]), lambda block: torch.softmax(block, -1))
    return found.view(rows.shape).movedim(-1, dim).contiguous()


def _softmax_gradient(grad: Tensor, y: Tensor, dim: int) -> Tensor:
    product = grad * y
    return product - y * product.sum(dim, keepdim=True)


def _in_blocks(x: Tensor, function: Map) -> Tensor:
    """A function of rows in float64; on a CPU a few of them at a time, which stay in its cache."""
    rows = _BLOCK * len(x) // max(1, x.numel()) or 1
    if len(x) <= rows or x.device.type != "cpu":
        return function(x.double()).to(x.dtype)
    found = torch.empty(x.shape, dtype=x.dtype)
    for begin in range(0, len(x), rows):
        found[begin : begin + rows] = function(x[begin : begin + rows].double())
    return found


def _with_gradient(x: Tensor, function: Map, gradient: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    if not (torch.is_grad_enabled() and x.requires_grad):
        return function(x)
    found: Tensor = _OfResults.apply(function, gradient, x)
    return found


class _OfResults(torch.autograd.Function):
    """A function whose gradient is computed of its result, which is all that is kept: in float32."""

    @staticmethod
    def forward(ctx: Any, function: Map, gradient: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> Tensor:
        found = function(x)
        ctx.save_for_backward(found)
        ctx.gradient = gradient
        return found

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, ctx.gradient(grad_outputs[0], *ctx.saved_tensors)


def _with_torchs_gradient(
    own: Normalize, torchs: Normalize, x: Tensor, weight: Tensor | None, bias: Tensor | None
) -> Tensor:
    if not torch.is_grad_enabled():
        return own(x, weight, bias)
    found: Tensor = _Norm.apply(own, torchs, x, weight, bias)
    return found


class _Norm(torch.autograd.Function):
    """A normalization of its own, with the gradient of torch's."""

    @staticmethod
    def forward(
        ctx: Any, own: Normalize, torchs: Normalize, x: Tensor, weight: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.torchs = torchs
        return own(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = (None if value is None else value.detach().requires_grad_() for value in ctx.saved_tensors)
        with torch.enable_grad():
            found = ctx.torchs(x, weight, bias)
        wanted = [value for value in (x, weight, bias) if value is not None]
        gradients = iter(torch.autograd.grad(found, wanted, grad_outputs[0]))
        return None, None, *(None if value is None else next(gradients) for value in (x, weight, bias))
