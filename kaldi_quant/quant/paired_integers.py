"""Sums of outer products of paired inputs, as integers on fine grids (``planes``)."""

from __future__ import annotations

import torch
from torch import Tensor

from kaldi_quant.quant.integer_linear import InputGrid
from kaldi_quant.quant.planes import Planes
from kaldi_quant.quant.splice import SourceRows, Splice, SplicedSums

# How far a value is from its grid by the rounding of float32, as a share of a step.
_NEAR = 1e-3


class PairedIntegers:
    """Sums over rows of paired inputs: of the quantized network's, and of how far the float one's are from them.

    Args:
        splice: how rows are put together.
        inputs: the grid of the quantized network's inputs, of a block's columns.
        differences: that of what is to be added to them for the float network's.
    """

    def __init__(self, splice: Splice, inputs: Planes, differences: Planes) -> None:
        self.splice, self.grids = splice, (inputs, differences)
        self._reset()

    @classmethod
    def over(cls, inputs: Tensor, float_inputs: Tensor, grid: InputGrid | None) -> PairedIntegers:
        """Grids for rows, and for others like them.

        Args:
            inputs: (sequences, rows, in) float32.
            float_inputs: likewise.
            grid: that the quantized network's inputs lie on, if it is known.
        """
        splice = Splice.of(inputs)
        on_grid = planes_of_grid(grid, inputs.flatten(0, 1)) if grid is not None else None
        if splice.source(float_inputs) is None or (on_grid is not None and not on_grid.repeats(splice.blocks)):
            splice = Splice()
        rows, differences = (_by_block(x, splice) for x in (inputs, float_inputs - inputs))
        planes = Planes.over(rows) if on_grid is None else on_grid.of_first(rows.shape[1])
        return cls(splice, planes, Planes.over_differences(differences, planes))

    def _reset(self) -> None:
        columns = self.splice.blocks * len(self.grids[0].step)
        self._count = 0
        self._sums = torch.zeros(2, columns, dtype=torch.float64)
        # Squares and products, of rows that are put together as those were that the splice was found in, and of others.
        self._spliced, self._others = (
            (SplicedSums(splice, of_squares=True), SplicedSums(splice)) for splice in (self.splice, Splice())
        )

    def add(self, inputs: Tensor, float_inputs: Tensor) -> bool:
        """Adds rows, (sequences, rows, in) float32 each; False, and adds none, where one is not on its grid."""
        if not inputs.numel():
            return True
        splice, x, y = self.splice, self.splice.source(inputs), self.splice.source(float_inputs)
        outer = self._spliced
        if x is None or y is None:
            splice, x, y, outer = Splice(), inputs, float_inputs, self._others
        planes = self._planes(x, y)
        if planes is None:
            return False
        of_inputs, of_differences = (SourceRows(part) for part in planes)
        self._sums += torch.stack([splice.summed(rows) for rows in (of_inputs, of_differences)])
        squares, products = outer
        squares.add(of_inputs, of_inputs)
        products.add(of_differences, of_inputs)
        self._count += inputs.shape[0] * inputs.shape[1]
        return True

    def _planes(self, x: Tensor, y: Tensor) -> tuple[list[Tensor], list[Tensor]] | None:
        """Of x, and of y less x, (..., columns) each, shaped like them; None where a value is not on its grid."""
        columns = len(self.grids[0].step)
        rows, float_rows = x.reshape(-1, columns), y.reshape(-1, columns)
        of_inputs = self.grids[0].integers(rows)
        of_differences = self.grids[1].integers(float_rows, less=rows) if of_inputs is not None else None
        if of_inputs is None or of_differences is None:
            return None
        return [plane.view(x.shape) for plane in of_inputs], [plane.view(x.shape) for plane in of_differences]

    def wider(self, inputs: Tensor, float_inputs: Tensor) -> PairedIntegers:
        """Sums on grids that reach as far as these and beyond rows, which are the first that are added."""
        rows, differences = (_by_block(x, self.splice) for x in (inputs, float_inputs - inputs))
        of_inputs, of_differences = self.grids
        if of_inputs.integers(rows) is None:
            of_inputs = of_inputs.over_more(rows)
        # Whether these fit depends on chance; their grid gets no wider than they need.
        found = PairedIntegers(self.splice, of_inputs, of_differences.over_more(differences))
        fits = found.add(inputs, float_inputs)
        assert fits
        return found

    def taken(self, origins: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Hands the sums over, and begins anew.

        Args:
            origins: (2, in) float64, what is subtracted from either input.

        Returns:
            Sums of values (2, in), of outer products of the quantized network's input with itself, and of the float
            one's (down) with it (across), (in, in) each, float64; None if there were no rows.
        """
        squares, products = (_added(parts) for parts in zip(self._spliced, self._others, strict=True))
        if squares is None or products is None:
            return None
        step, step_of_differences = (grid.step.repeat(self.splice.blocks) for grid in self.grids)
        start = self.grids[0].offset.repeat(self.splice.blocks) - origins[0]
        # That of the differences' grid is zero.
        start_of_differences = origins[0] - origins[1]
        x, differences = self._sums[0] * step, self._sums[1] * step_of_differences
        ends = start * self._count + x
        ends_of_differences = start_of_differences * self._count + differences
        # The sum of (start + step * integer) times the like of the other.
        squares.mul_(step).mul_(step.unsqueeze(1))
        squares.addr_(start, x).addr_(ends, start)
        products.mul_(step).mul_(step_of_differences.unsqueeze(1))
        products.addr_(start_of_differences, x).addr_(ends_of_differences, start)
        self._reset()
        return torch.stack([ends, ends + ends_of_differences]), squares, products.add_(squares)


def _added(sums: tuple[SplicedSums, SplicedSums]) -> Tensor | None:
    found = [taken for taken in (part.taken() for part in sums) if taken is not None]
    return found[0].add_(found[1]) if len(found) == 2 else found[0] if found else None


def _by_block(x: Tensor, splice: Splice) -> Tensor:
    """(..., blocks * columns) → (rows, columns)."""
    return x.reshape(-1, x.shape[-1] // splice.blocks)


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
