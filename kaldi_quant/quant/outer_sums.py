"""Sums over rows of outer products of 8-bit integers: exact, fast, and the same on every processor.

The sums of integers do not depend on the order in which they are added, and so not on processors or threads.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

#: Rows whose products 32-bit sums hold, whatever the integers.
MOST_ROWS = 1 << 16
# Rows that are multiplied at once: products of few cost more to add up than to compute.
_ROWS_OF_A_PRODUCT = 4096
# Of a product of a matrix with itself one half is the other, transposed; narrower blocks than these cost more than the
# half that they save.
_BLOCK = 512


class OuterSums:
    """Sums over rows of outer products of integers, exact.

    The integers have one plane of 8 bits or two, (rows, columns) int8 each, the upper one first.

    Args:
        of_squares: of integers with themselves.
    """

    def __init__(self, of_squares: bool = False) -> None:
        self.of_squares = of_squares
        # Rows wait until there are enough of them for a product.
        self._waiting: list[tuple[list[Tensor], list[Tensor]]] = []
        self._rows_waiting = 0
        self._rows = 0
        # By the weights of two planes, as long as 32 bits hold them, and all of them together.
        self._narrow: dict[tuple[int, int], Tensor] = {}
        self._wide: Tensor | None = None

    def add(self, first: list[Tensor], second: list[Tensor]) -> None:
        """Adds rows, which may not be changed later.

        Args:
            first: planes.
            second: likewise; the same as the first for squares.
        """
        if not len(first[0]):
            return
        self._waiting.append((first, second))
        self._rows_waiting += len(first[0])
        if self._rows_waiting >= _ROWS_OF_A_PRODUCT:
            self._multiply()

    def taken(self) -> Tensor | None:
        """(columns of the first, columns of the second) float64; None if there were no rows. Begins anew."""
        self._multiply()
        self._settle()
        found, self._wide = self._wide, None
        if found is not None and self.of_squares:
            for block, beyond in _blocks(len(found)):
                found[beyond, block] = found[block, beyond].T
        return found

    def _multiply(self) -> None:
        """Adds the rows that wait."""
        if not self._waiting:
            return
        firsts, seconds = zip(*self._waiting, strict=True)
        self._waiting, self._rows_waiting = [], 0
        first = _joined(firsts)
        second = first if self.of_squares else _joined(seconds)
        for begin in range(0, len(first[0]), MOST_ROWS):
            rows = slice(begin, begin + MOST_ROWS)
            self._add_products([plane[rows] for plane in first], [plane[rows] for plane in second])

    def _add_products(self, first: list[Tensor], second: list[Tensor]) -> None:
        if self._rows + len(first[0]) > MOST_ROWS:
            self._settle()
        self._rows += len(first[0])
        for weight, plane in weighted(first):
            for other_weight, other in weighted(second):
                if self.of_squares and other_weight == weight:
                    self._add_one_half((weight, weight), plane)
                # The others are these, transposed.
                elif not self.of_squares or other_weight < weight:
                    part, key = product(plane.T, other), (weight, other_weight)
                    self._narrow[key] = self._narrow[key].add_(part) if key in self._narrow else part

    def _add_one_half(self, key: tuple[int, int], plane: Tensor) -> None:
        """Adds the squares of blocks of columns, and the products with those on their right."""
        columns = plane.shape[1]
        if key not in self._narrow:
            self._narrow[key] = torch.zeros(columns, columns, dtype=torch.int32)
        sums = self._narrow[key]
        for block, _ in _blocks(columns):
            sums[block, block.start :] += product(plane[:, block].T, plane[:, block.start :])

    def _settle(self) -> None:
        for (weight, other_weight), sums in self._narrow.items():
            if self._wide is None:
                self._wide = torch.zeros(sums.shape, dtype=torch.float64)
            self._wide.add_(sums, alpha=weight * other_weight)
            if self.of_squares and other_weight != weight:
                self._wide.add_(sums.T, alpha=weight * other_weight)
        self._narrow.clear()
        self._rows = 0


def summed(planes: list[Tensor]) -> Tensor:
    """(columns,) float64: of integers, over rows."""
    total = torch.zeros(planes[0].shape[1], dtype=torch.float64)
    for weight, plane in weighted(planes):
        for some in plane.split(MOST_ROWS):
            total += product(some.new_ones(1, len(some)), some)[0].double() * weight
    return total


def product(left: Tensor, right: Tensor) -> Tensor:
    """(m, rows) int8 times (rows, n) int8: (m, n) int32 in main memory; at most ``MOST_ROWS`` rows."""
    if left.device.type == "cpu":
        if len(left) == 1:
            # Of one row with the strides of a column PyTorch's product is wrong.
            left = left.new_empty(left.shape).copy_(left)
        return torch._int_mm(left, right)
    return (left.double() @ right.double()).to(torch.int32).cpu()


def weighted(planes: list[Tensor]) -> list[tuple[int, Tensor]]:
    """Each plane with what one of its integers stands for."""
    return [(256 ** (len(planes) - 1 - number), plane) for number, plane in enumerate(planes)]


def _joined(parts: tuple[list[Tensor], ...]) -> list[Tensor]:
    return [torch.cat(planes) if len(planes) > 1 else planes[0] for planes in zip(*parts, strict=True)]


def _blocks(columns: int) -> Iterator[tuple[slice, slice]]:
    """Blocks of columns, each with all that are on its right."""
    for begin in range(0, columns, _BLOCK):
        yield slice(begin, begin + _BLOCK), slice(begin + _BLOCK, columns)
