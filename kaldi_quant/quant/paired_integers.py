"""Sums of outer products of paired inputs, as integers on fine grids (``planes``)."""

from __future__ import annotations

import torch
from torch import Tensor

from kaldi_quant.quant.integer_linear import InputGrid
from kaldi_quant.quant.planes import MOST_ROWS, OuterSums, Planes, summed

# Rows that are multiplied at once: products of few cost more to add up than to compute.
_ROWS_OF_A_PRODUCT = 4096
# How far a value is from its grid by the rounding of float32, as a share of a step.
_NEAR = 1e-3


class PairedIntegers:
    """Sums over rows of paired inputs, all of them on two grids.

    Args:
        inputs: the grid of the quantized network's inputs.
        float_inputs: that of the float network's.
    """

    def __init__(self, inputs: Planes, float_inputs: Planes) -> None:
        self.grids = inputs, float_inputs
        # Rows wait until there are enough of them for a product.
        self._waiting: list[tuple[list[Tensor], list[Tensor]]] = []
        self._reset()

    def _reset(self) -> None:
        columns = len(self.grids[0].step)
        self._count = 0
        self._sums = torch.zeros(2, columns, dtype=torch.float64)
        self._squares, self._products = OuterSums(of_squares=True), OuterSums()

    def add(self, inputs: Tensor, float_inputs: Tensor) -> bool:
        """Adds rows, (rows, in) float32 each; False, and adds none, where a value lies beyond a grid or is none."""
        if not len(inputs):
            return True
        x, y = self.grids[0].integers(inputs), self.grids[1].integers(float_inputs)
        if x is None or y is None:
            return False
        self._waiting.append((x, y))
        if sum(len(planes[0]) for planes, _ in self._waiting) >= _ROWS_OF_A_PRODUCT:
            self._multiply()
        return True

    def wider(self, inputs: Tensor, float_inputs: Tensor) -> PairedIntegers:
        """Sums on grids that reach as far as these and beyond rows, which are the first that are added."""
        pairs = zip(self.grids, (inputs, float_inputs), strict=True)
        found = PairedIntegers(*(grid.over_more(x) if grid.integers(x) is None else grid for grid, x in pairs))
        fits = found.add(inputs, float_inputs)
        assert fits
        return found

    def taken(self, origins: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Hands the sums over, and begins anew.

        Args:
            origins: (2, in) float64, what is subtracted from either input.

        Returns:
            Sums of values (2, in), of outer products of the first input with itself, and of the second one (down) with
            the first (across), (in, in) each, float64; None if there were no rows.
        """
        self._multiply()
        squares, products = self._squares.taken(), self._products.taken()
        if squares is None or products is None:
            return None
        starts = torch.stack([grid.offset for grid in self.grids]) - origins
        steps = torch.stack([grid.step for grid in self.grids])
        ends = starts * self._count + self._sums * steps
        x, (start, other_start) = self._sums[0] * steps[0], starts
        # The sum of (start + step * integer) times the like of the other input.
        squares.mul_(steps[0]).mul_(steps[0].unsqueeze(1))
        squares.addr_(start, x).addr_(ends[0], start)
        products.mul_(steps[0]).mul_(steps[1].unsqueeze(1))
        products.addr_(other_start, x).addr_(ends[1], start)
        self._reset()
        return ends, squares, products

    def _multiply(self) -> None:
        """Adds the integers that wait."""
        if not self._waiting:
            return
        x, y = ([_joined(part) for part in zip(*planes, strict=True)] for planes in zip(*self._waiting, strict=True))
        self._waiting = []
        for begin in range(0, len(x[0]), MOST_ROWS):
            rows = slice(begin, begin + MOST_ROWS)
            some, others = [plane[rows] for plane in x], [plane[rows] for plane in y]
            self._count += len(some[0])
            self._sums += torch.stack([summed(some), summed(others)])
            self._squares.add(some, some)
            self._products.add(others, some)


def _joined(parts: tuple[Tensor, ...]) -> Tensor:
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def planes_of_grid(grid: InputGrid, rows: Tensor) -> Planes | None:
    """The grid that rows, (rows, in) float32, lie on as one of planes; None where they do not, or it is too wide."""
    if rows.shape[1] != len(grid.scale):
        return None
    rows = rows.cpu()
    found = Planes.of_grid(grid.scale, grid.qmin - grid.zero_point, grid.qmax - grid.zero_point)
    integers = found.integers(rows) if found else None
    if found is None or integers is None:
        return None
    error = (found.values(integers) - rows.double()).abs().amax(0)
    return found if bool((error <= _NEAR * found.step).all()) else None
