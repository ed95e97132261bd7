"""Convolutions over any number of axes: each place of the output is a row of the input's patch, channels first."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional

from kaldi_quant.torchnn.forms.layer import FORMS, Layer

Sizes = tuple[int, ...]


def sizes_of(value: object, axes: int) -> Sizes:
    """An option that is one number for all axes, or one for each."""
    if isinstance(value, int):
        return (value,) * axes
    assert isinstance(value, Sequence)
    return tuple(value) * (axes if len(value) == 1 else 1)


def padded(x: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
    """x, (N, channels, *places), with zeros around its places."""
    amounts = [amount for pair in zip(before, after, strict=True) for amount in reversed(pair)]
    return functional.pad(x, amounts[::-1]) if any(amounts) else x


def patches(x: Tensor, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Tensor:
    """What each place of a convolution's output reads.

    Args:
        x: (N, channels, *places).
        kernel: its size along each axis of places.
        stride: the places between outputs.
        dilation: the places between what a kernel reads.

    Returns:
        (N, *output places, channels * kernel places), channel after channel.
    """
    found: Tensor = _Patches.apply(x, kernel, stride, dilation)
    return found


class _Patches(torch.autograd.Function):
    """``patches``; backwards place by place of the kernel, many times faster than through ``Tensor.unfold``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Tensor:
        ctx.sizes = (x.shape, kernel, stride, dilation)
        axes = len(kernel)
        for axis, (size, step, gap) in enumerate(zip(kernel, stride, dilation, strict=True)):
            x = x.unfold(2 + axis, gap * (size - 1) + 1, step)[..., ::gap]
        return x.movedim(1, 1 + axes).flatten(1 + axes)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        shape, kernel, stride, dilation = ctx.sizes
        axes, counts = len(kernel), grad.shape[1:-1]
        of_places = grad.unflatten(-1, (shape[1], *kernel)).movedim(1 + axes, 1)
        result = grad.new_zeros(shape)
        for place in itertools.product(*map(range, kernel)):
            read = [
                slice(at * gap, at * gap + step * (count - 1) + 1, step)
                for at, count, step, gap in zip(place, counts, stride, dilation, strict=True)
            ]
            result[(slice(None), slice(None), *read)] += of_places[(..., *place)]
        return result, None, None, None


class Convolution(Layer):
    """A convolution. ``weight``: (out channels, in channels / groups * kernel places).

    Args:
        weight: (out channels, in channels / groups, *kernel).
        bias: (out channels,) or None.
        stride: along each axis.
        padding: zeros on both sides of each axis; or same, valid.
        dilation: along each axis.
        groups: of channels.
    """

    options: ClassVar[dict[str, object]] = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    is_convolution = True

    def __init__(
        self, weight: Tensor, bias: Tensor | None, stride: object, padding: object, dilation: object, groups: int
    ) -> None:
        super().__init__(weight.flatten(1), bias, groups, rows_per_channel=1, channel_axis=1)
        self.kernel: Sizes = tuple(weight.shape[2:])
        axes = len(self.kernel)
        self.stride, self.dilation = sizes_of(stride, axes), sizes_of(dilation, axes)
        if padding == "same":
            both = [gap * (size - 1) for size, gap in zip(self.kernel, self.dilation, strict=True)]
            self.before = tuple(total // 2 for total in both)
            self.after = tuple(total - total // 2 for total in both)
        else:
            self.before = self.after = sizes_of(0 if padding == "valid" else padding, axes)

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, **options: object) -> Self:
        return cls(weight, bias, **options)  # type: ignore[arg-type]

    @property
    def pads_with_zeros(self) -> bool:
        return any(self.before) or any(self.after)

    def rows(self, x: Tensor) -> Tensor:
        """x: (N, channels, *places), or without N."""
        x = x.unsqueeze(0) if x.dim() == 1 + len(self.kernel) else x
        return patches(padded(x, self.before, self.after), self.kernel, self.stride, self.dilation)

    def values(self, sums: Tensor, x: Tensor) -> Tensor:
        result = sums.movedim(-1, 1).contiguous()
        return result.squeeze(0) if x.dim() == 1 + len(self.kernel) else result


for _name in ("conv1d", "conv2d", "conv3d"):
    FORMS.add(_name)(Convolution)
