"""Products with fake-quantized weights, of inputs on static grids or on dynamic ones."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.grouped import grouped_linear
from kaldi_quant.quant.integer_linear import of_each_sequence
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.repeated import Repeated
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.train.parameters import TrainedComponent
from kaldi_quant.train.qat.fake_grid import FakeGrid
from kaldi_quant.train.qat.trained_weight import TrainedWeight


class FakeProduct(Repeated):
    """A product with fake-quantized weights; stands in for a module's float product. Its input lies on a grid already.

    Args:
        trained: what is learned of the weights.
        grid: of the weights multiplied by ``folded``.
        folded: (in,) float32, the scales of the input's columns where these differ, else 1.
        inputs: the fake grid that all columns share; None where they differ in scale.
        groups: of the input's columns (``grouped``).
    """

    folded: Tensor

    def __init__(
        self, trained: TrainedWeight, grid: FakeGrid, folded: Tensor, inputs: FakeGrid | None, groups: int = 1
    ) -> None:
        super().__init__()
        self.trained, self.grid, self.groups = trained, grid, groups
        # In a list, which hides it: it is the node's, not this product's.
        self._inputs = [inputs] if inputs is not None else []
        self.register_buffer("folded", folded)
        self.is_folded = bool((folded != 1).any())

    @property
    def steps(self) -> Tensor:
        """(out, in): the weights multiplied by ``folded``, in steps of the grid from its zero point, not rounded."""
        steps: Tensor = self.trained(self.grid.scale, self.folded)
        return steps

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: (..., groups * in) → (..., out)."""
        weight, bias = self.once(lambda: (self._weight(), None if bias is None else self._on_steps(bias)))
        return grouped_linear(x, weight, bias, self.groups)

    def _weight(self) -> Tensor:
        weight = self.grid.rounded(self.steps) * self.grid.scale
        return weight / self.folded if self.is_folded else weight

    def _on_steps(self, bias: Tensor) -> Tensor:
        """The bias, (out,), rounded to steps of the accumulator, which are coarse at low widths."""
        with torch.no_grad():
            step = self.grid.scale[:, 0]
            for inputs in self._inputs:
                step = step * inputs.scale
            error = (bias / step).round() * step - bias
        return bias + error

    def component(self, layer: str) -> TrainedComponent:
        """What is learned of the weights, scales apart; layer: its name."""
        return TrainedComponent(f"{layer} weight", dict(self.trained.named_parameters()), self.trained.rate)

    @torch.no_grad()
    def quantized(self, least: Tensor) -> QuantizedWeight:
        """The integers; scales stay above ``least``, (out, 1), one scale for a weight above all of them."""
        grid = on_cpu(self.grid.grid())
        least = least if grid.spec.per_channel or not len(least) else least.max()
        wider = replace(grid, scale=torch.maximum(grid.scale, least))
        steps = self.steps.cpu() * (grid.scale / wider.scale)
        return QuantizedWeight.on_grid(wider, grid.integers_of(steps), self.groups)


class FloatBiasProduct(FakeProduct):
    """The product of layers whose bias is a float: rows have several scales, or weights alone are quantized."""

    def _on_steps(self, bias: Tensor) -> Tensor:
        return bias


class DynamicProduct(FakeProduct):
    """The product of ``DynamicLinear``: the same operations on the same integers, of which float32 holds the sums.

    Args:
        trained: what is learned of the weights.
        grid: of the weights.
        columns: of the weights.
        spec: the input's width.
        groups: of the input's columns (``grouped``).
    """

    def __init__(self, trained: TrainedWeight, grid: FakeGrid, columns: int, spec: QSpec, groups: int = 1) -> None:
        super().__init__(trained, grid, torch.ones(columns), None, groups)
        self.spec = spec

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: (N, ..., groups * in) → (N, ..., out); each of the N sequences has a grid of its own."""
        integers, scale = _integers_of_each(x, self.spec)
        weight = self.once(lambda: self.grid.rounded(self.steps))
        if self.grid.columns:
            products = grouped_linear(integers, weight * self.grid.scale, groups=self.groups) * scale
        else:
            products = grouped_linear(integers, weight, groups=self.groups) * (scale * self.grid.scale[:, 0])
        return products if bias is None else products + bias


def on_own_grids(x: Tensor, spec: QSpec) -> Tensor:
    """x, (N, ..., columns), each sequence rounded to the grid over its own range; gradients pass as they are."""
    integers, scale = _integers_of_each(x, spec)
    return integers * scale


def _integers_of_each(x: Tensor, spec: QSpec) -> tuple[Tensor, Tensor]:
    """The integers, less the zero point, that each sequence is rounded to, and their scales, (N, 1, ..., 1).

    The gradient passes through rounding and clamping: a value at the end of its range takes the range along.
    """
    x = x.float() if x.dtype == torch.bfloat16 else x
    x, grid = of_each_sequence(x, spec)
    steps = x / grid.scale.to(x.dtype)
    # The difference of a number and its neighbouring integer is exact, and so is the sum.
    return steps + (grid.quantize(x) - grid.zero_point - steps).detach(), grid.scale


def on_cpu(grid: Grid) -> Grid:
    """The same grid in the main memory."""
    return Grid(grid.spec, grid.scale.cpu(), grid.zero_point.cpu())
