"""A weight matrix in integers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.spec import QSpec


@dataclass(frozen=True)
class QuantizedWeight:
    """value = (integer - zero_point) * scale, row by row.

    Args:
        spec: the grid's width and kind.
        integers: (out, in) int32, on the grid.
        scale: (out, 1) float32.
        zero_point: (out, 1) int32.
    """

    spec: QSpec
    integers: Tensor
    scale: Tensor
    zero_point: Tensor

    @classmethod
    def on_grid(cls, grid: Grid, integers: Tensor) -> QuantizedWeight:
        """Integers (out, in) with their grid's scale and zero point, (out, 1) or ()."""
        rows = (len(integers), 1)
        return cls(grid.spec, integers, grid.scale.expand(rows).contiguous(), grid.zero_point.expand(rows).contiguous())

    @property
    def centred(self) -> Tensor:
        """(out, in) int32: the integers less the zero point, which are what is multiplied."""
        return self.integers - self.zero_point

    def dequantized(self) -> Tensor:
        """(out, in) float64."""
        return self.centred.double() * self.scale.double()

    def sums(self, x: Tensor) -> Tensor:
        """(..., in) integers, float64 → (..., out): the products' sums, exact."""
        return torch.nn.functional.linear(x, self.centred.double())
