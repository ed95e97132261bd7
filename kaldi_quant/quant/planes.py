"""Columns of rows as integers on grids of their own, for sums of their products (``outer_sums``).

Values take 16 bits, as two planes of 8. That is far finer than the grids that the sums are for, and what lies on an
8-bit grid already fits one plane without any loss. Small differences take one plane. They are rounded by chance to
either side, so that nothing is lost on the average: what is added is noise, much less than they differ from row to row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from kaldi_quant.quant.few_rows import few_rows, number_of_rows, rows_at_once
from kaldi_quant.quant.outer_sums import weighted

# Integers of one plane, and the largest of two, so that the upper one stays within 8 bits.
_PLANE, _BOTH = 127, 127 * 256
# How much wider than the rows that it is made for a grid is, of values that may be larger later.
_HEADROOM = 8.0
# The grid of a column reaches at least this part as far as that of the largest.
_LEAST_SHARE = 8
# Of differences: the headroom, and the most steps within one of the values' 8 bits.
_HEADROOM_OF_DIFFERENCES, _STEPS_OF_DIFFERENCES = 4.0, 16


@dataclass(frozen=True)
class Planes:
    """A grid for each column: value = offset + step * integer.

    Args:
        offset: (columns,) float64.
        step: (columns,) float64, positive.
        count: 1 or 2, of planes.
        of_differences: whether it is about zero, which it holds exactly, and of one plane however wide it gets.
    """

    offset: Tensor
    step: Tensor
    count: int
    of_differences: bool = False

    @classmethod
    def over(cls, rows: Tensor) -> Planes:
        """The grid for rows, (rows, columns) float, and for others like them."""
        return cls._between(*(x.double().cpu() for x in rows.aminmax(dim=0)))

    @classmethod
    def over_differences(cls, rows: Tensor, grid: Planes) -> Planes:
        """The grid for differences from values, (rows, columns) float, and for others like them.

        Args:
            rows: the differences.
            grid: that of the values.
        """
        # Beside the rounding of the values themselves finer steps are of no use; of a column whose first differences
        # are small or zero others still find room.
        return cls._about_zero(rows, grid.step / (_STEPS_OF_DIFFERENCES if grid.count == 1 else 1))

    def over_more(self, rows: Tensor) -> Planes:
        """The grid for rows that this one is too narrow for, and for all that it is wide enough for."""
        if self.of_differences:
            return self._about_zero(rows, self.step)
        limit = _BOTH if self.count == 2 else _PLANE
        low, high = (x.double().cpu() for x in rows.aminmax(dim=0))
        least, most = self.offset - self.step * (limit + 1), self.offset + self.step * limit
        wider = self._between(torch.minimum(low, least), torch.maximum(high, most))
        if self.count == 1:
            return wider
        # Those that are nearly too narrow get wider, too: they would need it soon.
        stays = torch.maximum(self.offset - low, high - self.offset) < self.step * (limit / 2)
        offset, step = torch.where(stays, self.offset, wider.offset), torch.where(stays, self.step, wider.step)
        return Planes(offset, step, 2)

    @classmethod
    def _between(cls, low: Tensor, high: Tensor) -> Planes:
        middle, reach = (low + high) / 2, (high - low) / 2 * _HEADROOM
        # A small column, or one of a single value, may have larger ones later, and for sums of products as large as
        # those of the largest column steps that are finer than these are of no use.
        reach = torch.maximum(reach, reach.max() / _LEAST_SHARE)
        reach = torch.where(reach > 0, reach, middle.abs().clamp_min(1.0))
        return cls(middle, reach / _BOTH, 2)

    @classmethod
    def _about_zero(cls, rows: Tensor, least_step: Tensor) -> Planes:
        low, high = (x.double().cpu() for x in rows.aminmax(dim=0))
        step = torch.maximum(-low, high) * (_HEADROOM_OF_DIFFERENCES / _PLANE)
        return cls(torch.zeros_like(step), torch.maximum(step, least_step), 1, of_differences=True)

    @classmethod
    def of_grid(cls, scale: Tensor, low: Tensor, high: Tensor) -> Planes | None:
        """The grid of integers, ``low`` to ``high``, times a scale, (columns,) each; None where that is too wide."""
        if float((high - low).max()) > 2 * _PLANE + 1:
            return None
        # From -128 on.
        return cls((low.double() + _PLANE + 1) * scale.double(), scale.double(), 1)

    def repeats(self, blocks: int) -> bool:
        """Whether blocks of columns beside each other have the same grids."""
        parts = (x.unflatten(0, (blocks, -1)) for x in (self.offset, self.step))
        return all(bool((part == part[0]).all()) for part in parts)

    def of_first(self, columns: int) -> Planes:
        """The grid of so many columns, the first ones."""
        return replace(self, offset=self.offset[:columns], step=self.step[:columns])

    def values(self, planes: list[Tensor]) -> Tensor:
        """(rows, columns) float64: what integers stand for."""
        whole = sum(plane.double() * weight for weight, plane in weighted(planes))
        return self.offset + self.step * whole

    def integers(self, rows: Tensor, less: Tensor | None = None) -> list[Tensor] | None:
        """Planes of int8, (rows, columns), the upper one first; None where a value lies beyond the grid or is none.

        Differences are rounded up or down with chances that make up for what rounding takes or adds.

        Args:
            rows: (rows, columns) float32.
            less: likewise, what is subtracted from them first.
        """
        factor = self.step.reciprocal()
        start = -self.offset * factor
        limit, added = (_PLANE, 0) if self.count == 1 else (_BOTH, _PLANE + 1)
        # Half a plane is added, and taken from the lower byte again, so that both bytes have signs of their own.
        start, factor = (start + added).to(rows), factor.to(rows)
        at_once, columns = min(len(rows), rows_at_once(rows)), rows.shape[1]
        added_to_rows = _chances(columns, at_once).to(rows) if self.of_differences else start.expand(at_once, columns)
        planes = [rows.new_empty(rows.shape, dtype=torch.int8) for _ in range(self.count)]
        for part, others, *of_planes in few_rows(rows, rows if less is None else less, *planes):
            values = part if less is None else part - others
            found = torch.addcmul(added_to_rows[: len(part)], values, factor).round_()
            low, high = found.aminmax()
            if not -limit - 1 <= float(low) - added <= float(high) - added <= limit:
                return None
            if self.count == 1:
                of_planes[0].copy_(found)
                continue
            upper, lower = of_planes
            # Of 16 bits the lower ones stay.
            lower.copy_(found.to(torch.int16)).bitwise_xor_(-128)
            upper.copy_(found.mul_(1 / 256).floor_())
        return planes


def _chances(columns: int, rows: int) -> Tensor:
    """Numbers between -1/2 and 1/2, (rows or more, columns) float32: the same few rows again and again."""
    few = _few_chances(columns)
    return few.repeat(-(-rows // len(few)), 1) if rows > len(few) else few


@lru_cache(maxsize=2)
def _few_chances(columns: int) -> Tensor:
    rows = number_of_rows(columns)
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(0)) - 0.5
