"""Functions computed a block at a time: in float64 within the processor's cache, or in float32 by vectors alone.

Gradients are computed in float32: tensors of float64 would be kept for them otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Map = Callable[[Tensor], Tensor]
#: A function of tensors, some of which may be missing.
Compute = Callable[..., Tensor]
# So many values at a time: 512 kB in float64.
_BLOCK = 1 << 16
# So many values torch gives to one thread, whatever the function; a multiple of what vectors hold.
_OF_ONE_THREAD = 1 << 14
_VECTORS = 64


def of_each(x: Tensor, function: Map) -> Tensor:
    """A function of each value, computed in float64 and rounded once. The order in memory stays.

    Args:
        x: of any shape.
        function: of float64.
    """
    if x.numel() <= _BLOCK:
        return function(x.double()).to(x.dtype)
    return _flat(x, lambda flat: of_rows(flat, function))


def of_rows(x: Tensor, function: Map) -> Tensor:
    """A function of rows, computed in float64 and rounded once; on a CPU a few of them at a time.

    Args:
        x: (rows, …).
        function: of float64 (some rows, …), to the same shape.
    """
    rows = _BLOCK * len(x) // max(1, x.numel()) or 1
    if len(x) <= rows or x.device.type != "cpu":
        return function(x.double()).to(x.dtype)
    found = torch.empty(x.shape, dtype=x.dtype)
    for begin in range(0, len(x), rows):
        found[begin : begin + rows] = function(x[begin : begin + rows].double())
    return found


def by_vectors(x: Tensor, function: Map) -> Tensor:
    """A function of each value whose results depend on the values alone, computed as they are.

    For what does not fill a vector torch has other instructions, which give other last bits: results depend on where
    values lie in memory. Here vectors are always full. The order in memory stays.

    Args:
        x: of any shape.
        function: of tensors of x's type.
    """
    return function(x) if x.device.type != "cpu" else _flat(x, lambda flat: _by_full_vectors(flat, function))


def _by_full_vectors(x: Tensor, function: Map) -> Tensor:
    found = torch.empty_like(x)
    for begin in range(0, len(x), _OF_ONE_THREAD):
        block = x[begin : begin + _OF_ONE_THREAD]
        filled = functional.pad(block, (0, -len(block) % _VECTORS))
        found[begin : begin + _OF_ONE_THREAD] = function(filled)[: len(block)]
    return found


def _flat(x: Tensor, function: Map) -> Tensor:
    """A function of vectors, applied to values as they lie in memory."""
    order = sorted(range(x.dim()), key=x.stride, reverse=True)
    flat = function(x.permute(order).reshape(-1))
    return flat.view([x.shape[axis] for axis in order]).permute([order.index(axis) for axis in range(x.dim())])


def with_gradient(x: Tensor, function: Map, gradient: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """A function with a gradient that is computed of its result, which is all that is kept.

    Args:
        x: of any shape.
        function: of x.
        gradient: of x, from that of the result, and the result.
    """
    if not (torch.is_grad_enabled() and x.requires_grad):
        return function(x)
    found: Tensor = _OfResults.apply(function, gradient, x)
    return found


def with_torchs_gradient(own: Compute, torchs: Compute, *tensors: Tensor | None) -> Tensor:
    """A function with the gradient of another.

    Args:
        own: of the tensors.
        torchs: the same as torch has it.
        tensors: some of which may be missing.
    """
    if not torch.is_grad_enabled():
        return own(*tensors)
    found: Tensor = _AsTorchs.apply(own, torchs, *tensors)
    return found


class _OfResults(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Map, gradient: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> Tensor:
        found = function(x)
        ctx.save_for_backward(found)
        ctx.gradient = gradient
        return found

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, ctx.gradient(grad_outputs[0], *ctx.saved_tensors)


class _AsTorchs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Compute, torchs: Compute, *tensors: Tensor | None) -> Tensor:
        ctx.save_for_backward(*tensors)
        ctx.torchs = torchs
        return own(*tensors)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        tensors = [None if value is None else value.detach().requires_grad_() for value in ctx.saved_tensors]
        with torch.enable_grad():
            found = ctx.torchs(*tensors)
        wanted = [value for value in tensors if value is not None]
        gradients = iter(torch.autograd.grad(found, wanted, grad_outputs[0]))
        return None, None, *(None if value is None else next(gradients) for value in tensors)
