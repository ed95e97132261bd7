"""The product of two values that both lie on integer grids: the integer reference that defines the result.

    accumulator = sum over the inner axis of (one - zero_point) * (other - zero_point)

is exact in 32-bit integers. It becomes a float by one product with ``one.scale * other.scale``, or goes straight to
the grid of the next node, by the operations of a layer's accumulators (``integer_linear``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kaldi_quant.errors import DataError
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import ACCUMULATOR_LIMIT
from kaldi_quant.quant.spec import QSpec


def longest_inner(one: QSpec, other: QSpec) -> int:
    """How many products of integers of two grids 32-bit accumulators can add up, whatever the integers are."""
    return (ACCUMULATOR_LIMIT - 1) // (_largest(one) * _largest(other))


def _largest(spec: QSpec) -> int:
    """What no integer exceeds, less any zero point."""
    return spec.qmax - spec.qmin


@dataclass(frozen=True)
class IntegerMatmul:
    """A product of two values on grids.

    Args:
        name: of the node, for messages.
        one: the grid of the first factor, one scale.
        other: that of the second.
    """

    name: str
    one: Grid
    other: Grid

    @property
    def accumulator_scale(self) -> Tensor:
        """() float32."""
        return self.one.scale * self.other.scale

    @property
    def longest_inner(self) -> int:
        """How many products may be added up."""
        return longest_inner(self.one.spec, self.other.spec)

    def accumulate(self, factors: Sequence[Tensor]) -> Tensor:
        """Exact accumulators, float64.

        Args:
            factors: (..., rows, inner) and (..., inner, columns), floats on their grids.

        Raises:
            DataError: so many products are added up that 32-bit accumulators could overflow.
        """
        inner, longest = factors[0].shape[-1], self.longest_inner
        if inner > longest:
            raise DataError(
                f"the product {self.name} adds up {inner} products of {self.one.spec.bits}-bit and "
                f"{self.other.spec.bits}-bit integers, and 32-bit accumulators hold {longest}: the input is too long"
            )
        grids = (self.one, self.other)
        integers = [(x.double() / grid.scale.double()).round() for grid, x in zip(grids, factors, strict=True)]
        return torch.matmul(*integers)

    def forward(self, factors: Sequence[Tensor]) -> Tensor:
        """Factors on their grids, as of ``accumulate`` → (..., rows, columns) float32."""
        return self.accumulate(factors).float() * self.accumulator_scale

    def steps(self, factors: Sequence[Tensor], output: Grid) -> Tensor:
        """Factors on their grids → (..., rows, columns) float32 in the output's steps, unrounded."""
        return self.accumulate(factors).float() * (self.accumulator_scale / output.scale)
