"""Sums over rows of outer products, from products of 8-bit integers: exact, fast, and the same on every processor.

Columns of rows become integers on a grid of their own, of 16 bits as two planes of 8. That is far finer than the grids
that the sums are for, and what lies on an 8-bit grid already fits one plane without any loss. The sums of integers do
not depend on the order in which they are added, and so not on processors or threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Integers of one plane, and the largest of two, so that the upper one stays within 8 bits.
_PLANE, _BOTH = 127, 127 * 256
# How much wider than the rows that it is made for a grid is, of values that may be larger later.
_HEADROOM = 8.0
# The grid of a column reaches at least this part as far as that of the largest.
_LEAST_SHARE = 8
#: Rows whose products 32-bit sums hold, whatever the integers.
MOST_ROWS = 1 << 16
# Four bytes each.
_VALUES_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class Planes:
    """A grid for each column: value = offset + step * integer.

    Args:
        offset: (columns,) float64.
        step: (columns,) float64, positive.
        count: 1 or 2, of planes.
    """

    offset: Tensor
    step: Tensor
    count: int

    @classmethod
    def over(cls, rows: Tensor) -> Planes:
        """The grid for rows, (rows, columns) float, and for others like them."""
        return cls._between(*(x.double().cpu() for x in rows.aminmax(dim=0)))

    def over_more(self, rows: Tensor) -> Planes:
        """The grid for rows that this one is too narrow for, and for all that it is wide enough for."""
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
    def of_grid(cls, scale: Tensor, low: Tensor, high: Tensor) -> Planes | None:
        """The grid of integers, ``low`` to ``high``, times a scale, (columns,) each; None where that is too wide."""
        if float((high - low).max()) > 2 * _PLANE + 1:
            return None
        # From -128 on.
        return cls((low.double() + _PLANE + 1) * scale.double(), scale.double(), 1)

    def values(self, planes: list[Tensor]) -> Tensor:
        """(rows, columns) float64: what integers stand for."""
        whole = sum(plane.double() * weight for weight, plane in _weighted(planes))
        return self.offset + self.step * whole

    def integers(self, rows: Tensor) -> list[Tensor] | None:
        """Planes of int8, (rows, columns), the upper one first; None where a value lies beyond the grid or is none."""
        factor = self.step.reciprocal()
        start = -self.offset * factor
        limit, added = (_PLANE, 0) if self.count == 1 else (_BOTH, _PLANE + 1)
        # Half a plane is added, and taken from the lower byte again, so that both bytes have signs of their own.
        start, factor = (start + added).to(rows), factor.to(rows)
        planes = [rows.new_empty(rows.shape, dtype=torch.int8) for _ in range(self.count)]
        # A few rows at a time, whose values stay in the processor's caches.
        some = max(1, _VALUES_AT_ONCE // rows.shape[1]) if rows.device.type == "cpu" else len(rows)
        for part, *of_planes in zip(rows.split(some), *(plane.split(some) for plane in planes), strict=True):
            found = torch.addcmul(start, part, factor).round_()
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


def summed(planes: list[Tensor]) -> Tensor:
    """(columns,) float64: of integers, over rows; at most ``MOST_ROWS`` of them."""
    sums = [_product(plane.new_ones(1, len(plane)), plane)[0].double() for plane in planes]
    return sums[0] if len(sums) == 1 else sums[0] * 256 + sums[1]


class OuterSums:
    """Sums over rows of outer products of integers, exact.

    Args:
        of_squares: of integers with themselves.
    """

    def __init__(self, of_squares: bool = False) -> None:
        self.of_squares = of_squares
        self._rows = 0
        # By the weights of two planes, as long as 32 bits hold them, and all of them together.
        self._narrow: dict[tuple[int, int], Tensor] = {}
        self._wide: Tensor | None = None

    def add(self, first: list[Tensor], second: list[Tensor]) -> None:
        """Adds rows.

        Args:
            first: planes, (rows, columns) each; at most ``MOST_ROWS`` rows.
            second: likewise; the same as the first for squares.
        """
        if self._rows + len(first[0]) > MOST_ROWS:
            self._settle()
        self._rows += len(first[0])
        for weight, plane in _weighted(first):
            for other_weight, other in _weighted(second):
                # The others are these, transposed.
                if self.of_squares and other_weight > weight:
                    continue
                part, key = _product(plane.T, other), (weight, other_weight)
                self._narrow[key] = self._narrow[key].add_(part) if key in self._narrow else part

    def taken(self) -> Tensor | None:
        """(columns of the first, columns of the second) float64; None if there were no rows. Begins anew."""
        self._settle()
        found, self._wide = self._wide, None
        return found

    def _settle(self) -> None:
        for (weight, other_weight), sums in self._narrow.items():
            if self._wide is None:
                self._wide = torch.zeros(sums.shape, dtype=torch.float64)
            self._wide.add_(sums, alpha=weight * other_weight)
            if self.of_squares and other_weight < weight:
                self._wide.add_(sums.T, alpha=weight * other_weight)
        self._narrow.clear()
        self._rows = 0


def _product(left: Tensor, right: Tensor) -> Tensor:
    """(m, rows) int8 times (rows, n) int8: (m, n) int32, or what holds as much, in main memory."""
    if left.device.type == "cpu":
        return torch._int_mm(left, right)
    return (left.double() @ right.double()).cpu()


def _weighted(planes: list[Tensor]) -> list[tuple[int, Tensor]]:
    return [(256 ** (len(planes) - 1 - number), plane) for number, plane in enumerate(planes)]
