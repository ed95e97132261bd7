"""Rows whose columns are rows of one value at several times side by side: one value is in as many rows.

Sums over such rows of outer products have few different blocks. That of two times depends on how far apart they are
alone, but for the rows at the ends of a sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kaldi_quant.quant.outer_sums import OuterSums, summed

# More blocks than these are not looked for.
_MOST_BLOCKS = 8
# Ends of sequences are computed by themselves; where they are more than a part of this the whole costs no more.
_LEAST_ROWS_OF_A_SHIFT = 4


@dataclass(frozen=True)
class Splice:
    """How rows are put together.

    Args:
        shifts: for each block of columns, how many rows later than the earliest one it is read.
    """

    shifts: tuple[int, ...] = (0,)

    @classmethod
    def of(cls, x: Tensor) -> Splice:
        """How the rows of x, (sequences, rows, columns), are put together, found by comparing values."""
        rows, columns = x.shape[1:]
        if len(x) and rows >= _LEAST_ROWS_OF_A_SHIFT:
            for number in range(min(_MOST_BLOCKS, columns), 1, -1):
                splice = cls._of_blocks(x, number) if columns % number == 0 else None
                if splice is not None:
                    return splice
        return cls()

    @classmethod
    def _of_blocks(cls, x: Tensor, number: int) -> Splice | None:
        first, *others = x.chunk(number, dim=-1)
        places = [0]
        for other in others:
            place = _place(first, other)
            if place is None:
                return None
            places.append(place)
        found = cls(tuple(place - min(places) for place in places))
        return found if len(x[0]) >= _LEAST_ROWS_OF_A_SHIFT * max(found.shifts) else None

    @property
    def blocks(self) -> int:
        """In which the columns are."""
        return len(self.shifts)

    def source(self, x: Tensor) -> Tensor | None:
        """What x, (sequences, rows, columns), is put together from; None where it is put together in another way.

        Returns:
            (sequences, rows + largest shift, columns of a block).
        """
        rows, last = x.shape[1], max(self.shifts)
        if self.blocks == 1:
            return x
        if rows <= last:
            return None
        blocks = x.chunk(self.blocks, dim=-1)
        first, final = self.shifts.index(0), self.shifts.index(last)
        found = torch.cat([blocks[first], blocks[final][:, rows - last :]], dim=1)
        for number, (at, block) in enumerate(zip(self.shifts, blocks, strict=True)):
            # What it was made of need not be looked at.
            looked_at = 0 if number == first else rows - last if number == final else rows
            if not torch.equal(found[:, at : at + looked_at], block[:, :looked_at]):
                return None
        return found

    def summed(self, source: SourceRows) -> Tensor:
        """(blocks * columns,) float64: of integers, over the rows."""
        rows = source.number - max(self.shifts)
        return torch.cat([summed(source.between(at, at + rows)) for at in self.shifts])


def _place(first: Tensor, other: Tensor) -> int | None:
    """How many rows later the second of two blocks, (sequences, rows, columns), is read; None where it is neither."""
    rows = first.shape[1]
    most = rows // _LEAST_ROWS_OF_A_SHIFT
    middle = rows // 2
    near = first[0, middle - most : middle + most + 1]
    candidates = (near == other[0, middle]).all(1).nonzero()[:, 0] - min(most, middle)
    # The nearest first: of values that are the same for long, others are found as well.
    for place in sorted(candidates.tolist(), key=abs):
        later, earlier = (first, other) if place >= 0 else (other, first)
        if torch.equal(later[:, abs(place) :], earlier[:, : rows - abs(place)]):
            return int(place)
    return None


class SourceRows:
    """What rows are put together from, as integers. Each part that is asked for is cut out once.

    Args:
        planes: of the integers, (sequences, rows + largest shift, columns) int8 each.
    """

    def __init__(self, planes: list[Tensor]) -> None:
        self._planes = planes
        self._parts: dict[tuple[int, int], list[Tensor]] = {}

    @property
    def number(self) -> int:
        """Of rows in each sequence."""
        return self._planes[0].shape[1]

    def between(self, begin: int, end: int) -> list[Tensor]:
        """Planes of some rows of each sequence, one behind the other, (rows, columns)."""
        if (begin, end) not in self._parts:
            self._parts[begin, end] = [plane[:, begin:end].flatten(0, 1) for plane in self._planes]
        return self._parts[begin, end]


class SplicedSums:
    """Sums over spliced rows of outer products of integers, exact.

    Args:
        splice: of both.
        of_squares: of integers with themselves.
    """

    def __init__(self, splice: Splice, of_squares: bool = False) -> None:
        self.splice, self.of_squares = splice, of_squares
        self._blocks = {pair: _BlockSums(of_squares and pair[0] == pair[1]) for pair in self._pairs()}
        # For each distance in time the pair of blocks that is computed over all rows: the earliest one.
        self._leading: dict[int, tuple[int, int]] = {}
        for pair in sorted(self._blocks, key=lambda pair: splice.shifts[pair[0]]):
            self._leading.setdefault(self._distance(pair), pair)

    def _pairs(self) -> Iterator[tuple[int, int]]:
        numbers = range(self.splice.blocks)
        for first in numbers:
            for second in numbers:
                # The others are these, transposed.
                earlier = (self.splice.shifts[first], first) <= (self.splice.shifts[second], second)
                if earlier or not self.of_squares:
                    yield first, second

    def _distance(self, pair: tuple[int, int]) -> int:
        first, second = pair
        return self.splice.shifts[second] - self.splice.shifts[first]

    def add(self, first: SourceRows, second: SourceRows) -> None:
        """Adds rows.

        Args:
            first: what they are put together from.
            second: likewise; the same as the first for squares.
        """
        shifts = self.splice.shifts
        rows = first.number - max(shifts)

        def between(begin: int, end: int, pair: tuple[int, int]) -> tuple[list[Tensor], list[Tensor]]:
            at, other = shifts[pair[0]], shifts[pair[1]]
            return first.between(begin + at, end + at), second.between(begin + other, end + other)

        for pair, sums in self._blocks.items():
            leading = self._leading[self._distance(pair)]
            if leading == pair:
                sums.all_rows.add(*between(0, rows, pair))
                continue
            # It reads what the leading pair reads, so many rows later.
            later = shifts[pair[0]] - shifts[leading[0]]
            sums.only_here.add(*between(rows - later, rows, pair))
            sums.not_here.add(*between(0, later, leading))

    def taken(self) -> Tensor | None:
        """As of ``OuterSums``, of all columns."""
        whole = {distance: self._blocks[pair].all_rows.taken() for distance, pair in self._leading.items()}
        found: Tensor | None = None
        for (first, second), sums in self._blocks.items():
            block = whole[self._distance((first, second))]
            if block is None:
                return None
            columns = len(block)
            if found is None:
                found = torch.empty(self.splice.blocks * columns, self.splice.blocks * columns, dtype=torch.float64)
            place = found[first * columns : (first + 1) * columns, second * columns : (second + 1) * columns]
            place.copy_(block)
            more, less = sums.only_here.taken(), sums.not_here.taken()
            if more is not None and less is not None:
                place.add_(more).sub_(less)
            if self.of_squares and first != second:
                found[second * columns : (second + 1) * columns, first * columns : (first + 1) * columns] = place.T
        return found


class _BlockSums:
    """Of two blocks: over all rows, or how the sums differ from those of the leading pair of blocks."""

    def __init__(self, of_squares: bool) -> None:
        self.all_rows, self.only_here, self.not_here = (OuterSums(of_squares) for _ in range(3))
