"""Grids that a network itself declares for some of its values, beside those that follow from what reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.grid import SMALLEST_SCALE, Grid
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.units import Bits


@dataclass(frozen=True)
class DeclaredGrid:
    """What a network says of the grid of a value: value = (integer - zero_point) * scale, integers from 0 up.

    Args:
        bits: width of the integers.
        scale: a step; 0 where calibration finds the grid, and training may learn it.
        zero_point: the integer of 0, where the scale is given.

    Raises:
        UsageError: there is no such grid.
    """

    bits: Bits
    scale: float = 0.0
    zero_point: int = 0

    def __post_init__(self) -> None:
        largest = QSpec(self.bits, signed=False).qmax
        if not (math.isfinite(self.scale) and (self.scale == 0 or self.scale > SMALLEST_SCALE)):
            raise UsageError(f"a grid's scale must be positive and finite, or 0 for a calibrated one: {self.scale:g}")
        if not 0 <= self.zero_point <= (largest if self.scale else 0):
            raise UsageError(f"the zero point {self.zero_point} is not one of a grid of {self.bits} bits")

    @property
    def is_fixed(self) -> bool:
        """Whether it is known, and stays as it is."""
        return self.scale > 0

    @property
    def spec(self) -> QSpec:
        """Of the fixed grid."""
        return QSpec(self.bits, signed=False, symmetric=self.zero_point == 0)

    def grid(self) -> Grid:
        """The fixed grid."""
        return Grid(self.spec, torch.tensor(self.scale), torch.tensor(self.zero_point, dtype=torch.int32))
