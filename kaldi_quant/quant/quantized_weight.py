"""A weight matrix in integers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.grouped import grouped_linear
from kaldi_quant.quant.spec import QSpec


@dataclass(frozen=True)
class QuantizedWeight:
    """value = (integer - zero_point) * scale, row by row.

    Args:
        spec: the grid's width and kind.
        integers: (out, in) int32, on the grid.
        scale: (out, 1) float32.
        zero_point: (out, 1) int32.
        groups: of the input's columns (``grouped``).
    """

    spec: QSpec
    integers: Tensor
    scale: Tensor
    zero_point: Tensor
    groups: int = 1

    @classmethod
    def on_grid(cls, grid: Grid, integers: Tensor, groups: int = 1) -> QuantizedWeight:
        """Integers (out, in) with their grid's scale and zero point, (out, 1) or ()."""
        rows = (len(integers), 1)
        scale, zero_point = (values.expand(rows).contiguous() for values in (grid.scale, grid.zero_point))
        return cls(grid.spec, integers, scale, zero_point, groups)

    @property
    def centred(self) -> Tensor:
        """(out, in) int32: the integers less the zero point, which are what is multiplied."""
        return self.integers - self.zero_point

    def dequantized(self) -> Tensor:
        """(out, in) float64."""
        return self.centred.double() * self.scale.double()

    def sums(self, x: Tensor) -> Tensor:
        """(..., groups * in) integers, float64 → (..., out): the products' sums, exact."""
        return grouped_linear(x, self.centred.double(), groups=self.groups)
