"""The sum of tensors on different integer grids, on a grid of its own.

Two terms are added as the integer kernel of onnxruntime adds them (``QLinearAdd`` where the processor has fused
multiply-add), all in float32 and in this order:

    ratio_i = (coefficient_i * scale_i) / output_scale
    fixed = output_zero_point - fma(ratio_1, zero_point_1, ratio_2 * zero_point_2)
    output = clamp(round_half_to_even(fma(integer_1, ratio_1, fma(integer_2, ratio_2, fixed))))

Any other number of terms is added as floats, from left to right, and put on the output's grid.
"""

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from kaldi_quant.quant.grid import Grid

# Sums of two terms of 8 bits, of which there are so many, are computed once and looked up.
_MOST_PAIRS = 1 << 16


class IntegerSum:
    """Adds, each term multiplied by its coefficient.

    Args:
        grids: those of the terms, one scale each.
        coefficients: of the terms.
        output: the grid of the sum.
    """

    def __init__(self, grids: Sequence[Grid], coefficients: Sequence[float], output: Grid) -> None:
        self.grids, self.coefficients, self.output = grids, coefficients, output

    def __call__(self, integers: Sequence[Tensor]) -> Tensor:
        """The sum.

        Args:
            integers: of the terms, int32, equal shapes.

        Returns:
            int32, on the grid of the sum.
        """
        if len(integers) == 2 and self._is_in_table(*integers):
            (first, second), (grid_1, grid_2) = integers, (grid.spec for grid in self.grids)
            places = (first - grid_1.qmin) * (grid_2.qmax - grid_2.qmin + 1) + (second - grid_2.qmin)
            return self._table.index_select(0, places.flatten()).view(places.shape)
        return integer_sum(integers, self.grids, self.coefficients, self.output)

    def _is_in_table(self, first: Tensor, second: Tensor) -> bool:
        """Whether it is worth while to look sums up, and each is there."""
        specs = [grid.spec for grid in self.grids]
        pairs = math.prod(spec.qmax - spec.qmin + 1 for spec in specs)
        if first.device.type != "cpu" or pairs > min(_MOST_PAIRS, first.numel()):
            return False
        # What no output depends on may lie on no grid.
        ends = [term.aminmax() for term in (first, second)]
        return all(
            spec.qmin <= int(low) and int(high) <= spec.qmax for spec, (low, high) in zip(specs, ends, strict=True)
        )

    @cached_property
    def _table(self) -> Tensor:
        """For each pair of integers the sum: all of the second with the least of the first, and so on."""
        ranges = (torch.arange(grid.spec.qmin, grid.spec.qmax + 1, dtype=torch.int32) for grid in self.grids)
        pairs = torch.cartesian_prod(*ranges)
        return integer_sum(list(pairs.unbind(1)), self.grids, self.coefficients, self.output)


def integer_sum(
    integers: Sequence[Tensor], grids: Sequence[Grid], coefficients: Sequence[float], output: Grid
) -> Tensor:
    """Adds, each term multiplied by its coefficient.

    Args:
        integers: int32, equal shapes.
        grids: those of the terms, one scale each.
        coefficients: of the terms.
        output: the grid of the sum.

    Returns:
        int32, on the grid of the sum.
    """
    if len(integers) == 2:
        return _sum_of_two(integers, grids, coefficients, output)
    total = torch.zeros(())
    for i, (term, grid, coefficient) in enumerate(zip(integers, grids, coefficients, strict=True)):
        value = (term - grid.zero_point).float() * term_scale(grid, coefficient)
        total = total + value if i else value
    return output.quantize(total)


def term_scale(grid: Grid, coefficient: float) -> Tensor:
    """() float32: a term's scale with its coefficient."""
    return torch.tensor(coefficient, dtype=torch.float32) * grid.scale


def ratios_of(grids: Sequence[Grid], coefficients: Sequence[float], output: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """Of a sum of two terms the ratio of each, and what is fixed; () float32 (see above)."""
    scales = (term_scale(grid, coefficient) for grid, coefficient in zip(grids, coefficients, strict=True))
    ratio_1, ratio_2 = (scale / output.scale for scale in scales)
    zero_1, zero_2 = (grid.zero_point.float() for grid in grids)
    return ratio_1, ratio_2, output.zero_point.float() - fused_multiply_add(ratio_1, zero_1, ratio_2 * zero_2)


def _sum_of_two(
    integers: Sequence[Tensor], grids: Sequence[Grid], coefficients: Sequence[float], output: Grid
) -> Tensor:
    first, second = (x.float() for x in integers)
    ratio_1, ratio_2, fixed = ratios_of(grids, coefficients, output)
    steps = fused_multiply_add(first, ratio_1, fused_multiply_add(second, ratio_2, fixed))
    return steps.round().clamp(output.spec.qmin, output.spec.qmax).to(torch.int32)


def fused_multiply_add(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """a * b + c in float32, rounded once.

    The product of two float32 is exact in float64. Their sum with a third may not be; where it is not, it is rounded to
    an odd last bit, so that rounding it to float32 gives what rounding the exact sum would (Boldo and Melquiond,
    "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008).
    """
    product, addend = torch.broadcast_tensors(a.double() * b.double(), c.double())
    total = product + addend
    share = total - product
    error = (product - (total - share)) + (addend - share)
    even = total.view(torch.int64) % 2 == 0
    odd = torch.nextafter(total, torch.where(error > 0, torch.inf, -torch.inf).double())
    return torch.where((error != 0) & even, odd, total).float()
