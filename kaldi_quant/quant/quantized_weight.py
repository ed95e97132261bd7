"""A weight matrix in integers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.grouped import grouped_linear
from kaldi_quant.quant.scale_groups import bounds_of, by_column, by_group_of, count_groups
from kaldi_quant.quant.spec import QSpec


@dataclass(frozen=True)
class QuantizedWeight:
    """value = (integer - zero_point) * scale, row by row, or for each group of a row's columns (``scale_groups``).

    Args:
        spec: the grid's width and kind.
        integers: (out, in) int32, on the grid.
        scale: (out, scale groups) float32: (out, 1) where a row has one scale.
        zero_point: likewise, int32.
        groups: of the input's columns (``grouped``).
    """

    spec: QSpec
    integers: Tensor
    scale: Tensor
    zero_point: Tensor
    groups: int = 1

    @classmethod
    def on_grid(cls, grid: Grid, integers: Tensor, groups: int = 1) -> QuantizedWeight:
        """Integers (out, in) with their grid's scale and zero point, (out, in), (out, 1) or ()."""
        size = grid.spec.group_size
        shape = (len(integers), count_groups(integers.shape[1], size))
        scale, zero_point = (
            by_group_of(values, size).expand(shape).contiguous() for values in (grid.scale, grid.zero_point)
        )
        return cls(grid.spec, integers, scale, zero_point, groups)

    @property
    def grid(self) -> Grid:
        """Scale and zero point (out, 1), or (out, in) where groups of columns have their own."""
        return Grid(self.spec, *(self._by_column(values) for values in (self.scale, self.zero_point)))

    @property
    def is_groupwise(self) -> bool:
        """Whether groups of a row's columns have scales of their own."""
        return self.spec.group_size > 0

    @property
    def centred(self) -> Tensor:
        """(out, in) int32: the integers less the zero point, which are what is multiplied."""
        return self.integers - self._by_column(self.zero_point)

    def dequantized(self) -> Tensor:
        """(out, in) float64."""
        return self.centred.double() * self._by_column(self.scale).double()

    def _by_column(self, values: Tensor) -> Tensor:
        return by_column(values, self.integers.shape[1], self.spec.group_size)

    def sums(self, x: Tensor) -> Tensor:
        """(..., groups * in) integers, float64 → (..., out): the products' sums, exact."""
        return grouped_linear(x, self.centred.double(), groups=self.groups)

    def scaled_sums(self, x: Tensor, scale: Tensor) -> Tensor:
        """The products' sums in float32, in the unit of the layer's output.

        Each scale group's sum is exact, becomes a float32, and is multiplied by scale * (the group's scale), a float32,
        too; these are added in float32, the first group's first.

        Args:
            x: (..., groups * in) integers, float64.
            scale: of the input, float32, that broadcasts with (..., out).

        Returns:
            (..., out) float32.
        """
        if not self.is_groupwise:
            return self.sums(x).float() * (scale * self.scale[:, 0])
        columns = self.integers.shape[1]
        rows, weight = x.unflatten(-1, (self.groups, columns)), self.centred.double()
        total: Tensor | None = None
        for group, part in enumerate(bounds_of(columns, self.spec.group_size)):
            sums = grouped_linear(rows[..., part].flatten(-2), weight[:, part], groups=self.groups)
            scaled = sums.float() * (scale * self.scale[:, group])
            total = scaled if total is None else total + scaled
        assert total is not None
        return total
