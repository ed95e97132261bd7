"""Functions between grids that are computed in float64 and rounded to float32 once.

In float32 their last bits differ between libraries, and a value in the middle between two steps of a grid would go to
one step here and to the other there. Recurrent cells (``recurrent_cells``) do likewise, so that streams are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from kaldi_quant.torchnn.in_blocks import by_vectors, of_each, of_rows, with_gradient, with_torchs_gradient

#: What ``selu`` multiplies positive values by, and exp(x) - 1 of negative ones.
SELU_SCALE = 1.0507009873554805
SELU_BELOW = SELU_SCALE * 1.6732632423543772
#: Beyond it the tanh of ``mish`` is 1.
MISH_ALL = 20.0
#: The square root of 2 / pi, of the approximation of GELU.
GELU_ROOT = math.sqrt(2 / math.pi)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x, or alpha (exp(x) - 1) where x is negative (D. Clevert et al., "Fast and accurate deep network learning by
    exponential linear units", 2016)."""
    return torch.relu(x) + _below(x, alpha)


def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x, or alpha (exp(x / alpha) - 1) where x is negative (J. Barron, "Continuously differentiable exponential linear
    units", 2017)."""
    return torch.relu(x) + _below(x, alpha, alpha)


def selu(x: Tensor) -> Tensor:
    """ELU with the constants of self-normalizing networks (G. Klambauer et al., 2017)."""

    def own(x: Tensor) -> Tensor:
        return torch.relu(x) * SELU_SCALE + (x.clamp_max(0).exp() - 1) * SELU_BELOW

    def gradient(grad: Tensor, y: Tensor) -> Tensor:
        return grad * torch.where(y > 0, SELU_SCALE, y + SELU_BELOW)

    return with_gradient(x, lambda x: of_each(x, own), gradient)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return with_gradient(x, lambda x: of_each(x, torch.sigmoid), lambda grad, y: grad * (y * (1 - y)))


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return with_gradient(x, lambda x: of_each(x, torch.tanh), lambda grad, y: grad * (1 - y * y))


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta, or x where beta x is above the threshold."""

    def own(x: Tensor) -> Tensor:
        x = x * beta
        found = (torch.relu(x) + (1 + (-x.abs()).exp()).log()) / beta
        return torch.where(x > threshold, x / beta, found)

    return with_torchs_gradient(lambda x: of_each(x, own), lambda x: functional.softplus(x, beta, threshold), x)


def mish(x: Tensor) -> Tensor:
    """x tanh(log(1 + exp(x))): the tanh is rounded once, and then the product (D. Misra, "Mish", 2019)."""

    def share(x: Tensor) -> Tensor:
        e = x.clamp_max(MISH_ALL).exp()
        e = e * (e + 2)
        return e / (e + 2)

    return with_torchs_gradient(lambda x: x * of_each(x, share), functional.mish, x)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x times the normal distribution's share below x (D. Hendrycks and K. Gimpel, "Gaussian Error Linear Units",
    2016). It stays in float32, as onnxruntime has no other, but depends on values alone; the approximation by a tanh is
    rounded once."""

    def by_tanh(x: Tensor) -> Tensor:
        return 0.5 * x * (1 + ((x + 0.044715 * (x * x * x)) * GELU_ROOT).tanh())

    def own(x: Tensor) -> Tensor:
        return of_each(x, by_tanh) if approximate == "tanh" else by_vectors(x, functional.gelu)

    return with_torchs_gradient(own, lambda x: functional.gelu(x, approximate=approximate), x)


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x): the sigmoid is rounded once, and then the product."""
    return x * sigmoid(x)


def glu(x: Tensor, dim: int = -1) -> Tensor:
    """The first half of an axis times the sigmoid of the second; rounded as in ``silu``."""
    first, second = x.chunk(2, dim)
    return first * sigmoid(second)


def softmax(x: Tensor, dim: int) -> Tensor:
    """exp(x) divided by its sum over an axis."""
    return with_gradient(x, partial(_softmax, dim=dim), partial(_softmax_gradient, dim=dim))


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
        return of_rows(
            x.reshape(math.prod(x.shape[: -len(shape)]), *shape), lambda rows: torchs(rows, weight, bias)
        ).view(x.shape)

    return with_torchs_gradient(own, torchs, x, weight, bias)


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

    return with_torchs_gradient(own, torchs, x, weight, bias)


def instance_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """``group_norm`` where each channel is a group of its own (D. Ulyanov et al., "Instance Normalization", 2016)."""
    return group_norm(x, x.shape[1], weight, bias, eps)


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


def _below(x: Tensor, factor: float, divisor: float = 1.0) -> Tensor:
    """factor (exp(x / divisor) - 1) where x is negative, else 0."""

    def own(x: Tensor) -> Tensor:
        x = (x if divisor == 1 else x / divisor).exp() - 1
        return x if factor == 1 else x * factor

    negative = x.clamp_max(0)
    return with_gradient(negative, lambda x: of_each(x, own), lambda grad, y: grad * ((y + factor) / divisor))


def _softmax(x: Tensor, dim: int) -> Tensor:
    if dim in (-1, x.dim() - 1) and x.shape[dim]:
        rows = x.reshape(-1, x.shape[dim])
        return of_rows(rows, lambda some: torch.softmax(some, -1)).view(x.shape)
    return torch.softmax(x.double(), dim).to(x.dtype)


def _softmax_gradient(grad: Tensor, y: Tensor, dim: int) -> Tensor:
    product = grad * y
    return product - y * product.sum(dim, keepdim=True)
