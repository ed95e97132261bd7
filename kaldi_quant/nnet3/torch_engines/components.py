"""What takes the place of a network's nodes around PyTorch's integer kernels: nodes on grids hold uint8 integers.

A product whose input may be absent, and then is zero, is given floats on the grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kaldi_quant.backends.torch_engines.kernels import as_quantized, integers_of
from kaldi_quant.kaldi.component import Component
from kaldi_quant.nnet3.components.base import FrameComponent
from kaldi_quant.quant.graph import Read
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_sum import integer_sum
from kaldi_quant.quant.spec import LARGEST_BYTE


class OnGrid(FrameComponent):
    """Floats to the integers of a grid: PyTorch's ``QuantStub``, converted. Network inputs have a grid per column."""

    def __init__(self, component: Component, grid: Grid) -> None:
        super().__init__(component)
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        return self.grid.quantize(x).to(torch.uint8)


class FromGrid(FrameComponent):
    """What float components read of a node on a grid: its values; given floats, these rounded to the grid."""

    def __init__(self, component: Component, grid: Grid) -> None:
        super().__init__(component)
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        return self.grid.dequantize(x.int()) if x.dtype == torch.uint8 else self.grid.fake(x)


class Passed(FrameComponent):
    """A ReLU that the product before it has done already."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class QuantizedSum(FrameComponent):
    """Adds nodes on grids with PyTorch's quantized addition; their values are given side by side.

    Args:
        component: takes their columns side by side.
        terms: what is added.
        grids: of the terms.
        output: of the sum.
    """

    def __init__(self, component: Component, terms: Sequence[Read], grids: list[Grid], output: Grid) -> None:
        super().__init__(component)
        self.coefficients = [term.coefficient for term in terms]
        self.grids, self.output = grids, output
        self.native = len(terms) == 2 and min(self.coefficients) > 0

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, T, terms * dim), uint8, or float on the grids → (N, T, dim) uint8."""
        parts = x.unflatten(-1, (len(self.grids), -1)).unbind(-2)
        if x.dtype != torch.uint8:
            parts = tuple(grid.quantize(part).to(torch.uint8) for grid, part in zip(self.grids, parts, strict=True))
        if not self.native:
            return integer_sum([part.int() for part in parts], self.grids, self.coefficients, self.output).to(
                torch.uint8
            )
        # A term's coefficient is a change of its scale.
        terms = [
            as_quantized(part.contiguous(), float(grid.scale) * coefficient, int(grid.zero_point))
            for part, grid, coefficient in zip(parts, self.grids, self.coefficients, strict=True)
        ]
        total = torch.ops.quantized.add(*terms, float(self.output.scale), int(self.output.zero_point))
        integers = integers_of(total)
        return integers.clamp_max_(self.output.spec.qmax) if self.output.spec.qmax < LARGEST_BYTE else integers
