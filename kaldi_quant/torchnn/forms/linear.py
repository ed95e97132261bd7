"""Fully connected layers."""

from __future__ import annotations

from typing import ClassVar, Self

from torch import Tensor

from kaldi_quant.torchnn.forms.layer import FORMS, Layer


@FORMS.add("linear")
class Linear(Layer):
    """y = W x + b over the last axis."""

    options: ClassVar[dict[str, object]] = {}
    is_convolution = False

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, **options: object) -> Self:
        return cls(weight, bias, groups=1, rows_per_channel=1, channel_axis=-1)

    def rows(self, x: Tensor) -> Tensor:
        # One row alone is one of a batch.
        return x.unsqueeze(0) if x.dim() == 1 else x

    def values(self, sums: Tensor, x: Tensor) -> Tensor:
        return sums.squeeze(0) if x.dim() == 1 else sums
