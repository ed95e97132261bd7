"""Transposed convolutions, as ordinary ones whose results interleave.

With s the stride, output place u, counted from before the padding is cut off, belongs to phase u mod s. All outputs of
a phase read the input through the same taps of the kernel: k with k * dilation mod s equal to the phase. So one
ordinary convolution of stride one computes all phases side by side, with zeros for taps that a phase lacks, and its
results are put in turn.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from kaldi_quant.torchnn.forms.convolution import Sizes, padded, patches, sizes_of
from kaldi_quant.torchnn.forms.layer import FORMS, Layer


class TransposedConvolution(Layer):
    """A transposed convolution. ``weight``: (out channels * phases, in channels / groups * taps).

    Args:
        weight: (in channels, out channels / groups, *kernel).
        bias: (out channels,) or None.
        stride: along each axis.
        padding: places cut off on both sides of each axis.
        output_padding: places added at the end of each axis.
        groups: of channels.
        dilation: along each axis.
    """

    options: ClassVar[dict[str, object]] = {
        "stride": 1,
        "padding": 0,
        "output_padding": 0,
        "groups": 1,
        "dilation": 1,
    }
    is_convolution = True

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: object,
        padding: object,
        output_padding: object,
        groups: int,
        dilation: object,
    ) -> None:
        kernel = tuple(weight.shape[2:])
        axes = len(kernel)
        phases, gaps = sizes_of(stride, axes), sizes_of(dilation, axes)
        rows = _rows_of_phases(weight, phases, gaps, groups)
        count = math.prod(phases)
        super().__init__(rows, None if bias is None else bias.repeat_interleave(count), groups, count, channel_axis=1)
        self.phases = phases
        self.taps = _taps(kernel, phases, gaps)
        self.cut = sizes_of(padding, axes)
        added = sizes_of(output_padding, axes)
        #: By how much outputs are longer than inputs times the stride.
        self.longer = tuple(
            gap * (size - 1) + more + 1 - step - 2 * cut
            for size, gap, more, step, cut in zip(kernel, gaps, added, phases, self.cut, strict=True)
        )

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, **options: object) -> Self:
        return cls(weight, bias, **options)  # type: ignore[arg-type]

    def _lengths(self, x: Tensor) -> Sizes:
        """Of the output, along each axis."""
        places = x.shape[-len(self.taps) :]
        return tuple(n * step + more for n, step, more in zip(places, self.phases, self.longer, strict=True))

    @property
    def pads_with_zeros(self) -> bool:
        beyond = (cut + more > 0 for cut, more in zip(self.cut, self.longer, strict=True))
        return any(taps > 1 for taps in self.taps) or any(beyond)

    def rows(self, x: Tensor) -> Tensor:
        """x: (N, channels, *places), or without N."""
        axes = len(self.taps)
        before = [taps - 1 for taps in self.taps]
        # So many places of each phase are wanted; what lies beyond the input is zero.
        wanted = [
            -(-(cut + length) // step)
            for cut, length, step in zip(self.cut, self._lengths(x), self.phases, strict=True)
        ]
        after = [max(0, number - n) for number, n in zip(wanted, x.shape[-axes:], strict=True)]
        x = x.unsqueeze(0) if x.dim() == 1 + axes else x
        return patches(padded(x, before, after), self.taps, (1,) * axes, (1,) * axes)

    def values(self, sums: Tensor, x: Tensor) -> Tensor:
        axes = len(self.taps)
        # (N, *places, out, *phases) → (N, out, place, phase, place, phase, ...)
        apart = sums.unflatten(-1, (-1, *self.phases))
        order = [axis for place in range(axes) for axis in (1 + place, 2 + axes + place)]
        result = apart.permute(0, 1 + axes, *order)
        for axis in range(axes):
            result = result.flatten(2 + axis, 3 + axis)
        for axis, (cut, length) in enumerate(zip(self.cut, self._lengths(x), strict=True)):
            result = result.narrow(2 + axis, cut, length)
        result = result.contiguous()
        return result.squeeze(0) if x.dim() == 1 + axes else result


def _taps(kernel: Sequence[int], phases: Sizes, gaps: Sizes) -> Sizes:
    """How many neighbouring places of the input an output reads, along each axis."""
    return tuple((size - 1) * gap // step + 1 for size, gap, step in zip(kernel, gaps, phases, strict=True))


def _rows_of_phases(weight: Tensor, phases: Sizes, gaps: Sizes, groups: int) -> Tensor:
    """(out channels * phases, in channels / groups * taps) from (in channels, out channels / groups, *kernel)."""
    kernel = tuple(weight.shape[2:])
    taps = _taps(kernel, phases, gaps)
    by_group = weight.unflatten(0, (groups, -1)).transpose(1, 2)
    # (groups, out channels / groups, *phases, in channels / groups, *taps)
    rows = torch.zeros(*by_group.shape[:2], *phases, by_group.shape[2], *taps, dtype=weight.dtype)
    for places in itertools.product(*map(range, kernel)):
        at = [place * gap for place, gap in zip(places, gaps, strict=True)]
        phase = tuple(place % step for place, step in zip(at, phases, strict=True))
        # Places further on in the output read places further back in the input.
        tap = tuple(size - 1 - place // step for place, step, size in zip(at, phases, taps, strict=True))
        here: tuple[Any, ...] = (slice(None), slice(None), *phase, slice(None), *tap)
        rows[here] = by_group[..., *places]
    return rows.flatten(0, 1 + len(phases)).flatten(1)


for _name in ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"):
    FORMS.add(_name)(TransposedConvolution)
