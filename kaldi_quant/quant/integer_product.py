"""The product, element by element, of two values on integer grids, on a grid of its own.

    accumulator = (one - zero_point) * (other - zero_point)
    steps = float32(accumulator) * ((one_scale * other_scale) / output_scale)  in float32
    output = clamp(round_half_to_even(steps) + zero_point)

The accumulator is exact. These are the operations of a layer's accumulators (``integer_linear``).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kaldi_quant.quant.grid import Grid


def product_scale(grids: Sequence[Grid], output: Grid) -> Tensor:
    """() float32: steps of the output for each unit of the accumulator."""
    one, other = grids
    return (one.scale * other.scale) / output.scale


def integer_product(integers: Sequence[Tensor], grids: Sequence[Grid], output: Grid) -> Tensor:
    """Multiplies.

    Args:
        integers: of both factors, int32, shapes that broadcast.
        grids: those of the factors, one scale each.
        output: the grid of the product.

    Returns:
        int32, on the grid of the product.
    """
    one, other = ((x - grid.zero_point).double() for x, grid in zip(integers, grids, strict=True))
    return output.integers_of((one * other).float() * product_scale(grids, output))
