"""Values in an ONNX graph: floats, or integers on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.backends.onnx.writer import FLOAT, GraphWriter, Name
from kaldi_quant.errors import ModelError
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.spec import LARGEST_BYTE


@dataclass
class Value:
    """A tensor in the graph.

    Args:
        floats: its name; empty where only integers are there yet.
        integers: the name of its integers: 8-bit ones or, of wider grids, in floats.
        grid: that of the integers.
    """

    floats: Name = ""
    integers: Name = ""
    grid: Grid | None = None


def is_wide(grid: Grid) -> bool:
    """Whether integers of a grid are held by floats, as 8 bits do not."""
    return grid.spec.is_wide


def zero_of(grid: Grid) -> np.generic:
    """The zero point, of the type of the integers."""
    zero = int(grid.zero_point)
    return np.float32(zero) if is_wide(grid) else np.uint8(zero)


@dataclass(frozen=True)
class Grids:
    """Puts values on grids and takes them off."""

    writer: GraphWriter

    def floats(self, value: Value) -> Name:
        """A value in float.

        It does not come from DequantizeLinear: between that and QuantizeLinear onnxruntime would compute some
        operations by kernels of its own on integers, and not as the reference does, in float.
        """
        if not value.floats:
            grid = value.grid
            assert grid is not None
            steps = value.integers
            if not is_wide(grid):
                steps = self.writer.op("Cast", [steps], to=FLOAT)
            if int(grid.zero_point):
                steps = self.writer.op("Sub", [steps, self.writer.constant(np.float32(int(grid.zero_point)))])
            value.floats = self.writer.op("Mul", [steps, self.writer.constant(grid.scale.numpy())])
        return value.floats

    def on(self, floats: Name, grid: Grid, name: Name) -> Value:
        """Floats on a grid.

        Args:
            floats: (..., channels), where the grid has one scale for each channel.
            grid: the grid.
            name: for the result.

        Raises:
            ModelError: it is a grid of integers with a sign.
        """
        if grid.spec.signed:
            raise ModelError(f"the node {name} lies on a grid that is not of unsigned integers")
        if grid.scale.dim():
            return Value(self._by_column(floats, grid, name))
        if is_wide(grid):
            steps = self.writer.op("Div", [floats, self.writer.constant(grid.scale.numpy())])
            return self.of_steps(steps, grid, name)
        constants = [self.writer.constant(grid.scale.numpy()), self.writer.constant(zero_of(grid))]
        integers = self.writer.op("QuantizeLinear", [floats, *constants], name)
        return Value(integers=self.clipped(integers, grid), grid=grid)

    def on_bytes(self, floats: Name, grid: Grid, name: Name, relu: bool = False) -> Value:
        """A product between DequantizeLinear and QuantizeLinear on its grid, of 8 bits or less.

        Where zero is the grid's lower end, ReLU is what the grid does anyhow.
        """
        zero = int(grid.zero_point)
        constants = [self.writer.constant(grid.scale.numpy()), self.writer.constant(np.uint8(zero))]
        integers = self.writer.op("QuantizeLinear", [floats, *constants], name)
        return Value(integers=self.clipped(integers, grid, zero if relu else 0), grid=grid)

    def of_steps(self, steps: Name, grid: Grid, name: Name, relu: bool = False) -> Value:
        """Floats that are in steps of a grid, not yet rounded, on it."""
        zero = int(grid.zero_point)
        least = zero if relu else grid.spec.qmin
        if is_wide(grid):
            return Value(integers=self._rounded(steps, np.float32(zero), least, grid.spec.qmax, name), grid=grid)
        constants = [self.writer.constant(np.float32(1)), self.writer.constant(zero_of(grid))]
        integers = self.writer.op("QuantizeLinear", [steps, *constants], name)
        return Value(integers=self.clipped(integers, grid, least), grid=grid)

    def _rounded(self, steps: Name, zero: np.ndarray | np.generic, least: int, most: int, name: Name = "") -> Name:
        rounded = self.writer.op("Round", [steps])
        if np.any(zero):
            rounded = self.writer.op("Add", [rounded, self.writer.constant(zero)])
        bounds = [self.writer.constant(np.float32(bound)) for bound in (least, most)]
        return self.writer.op("Clip", [rounded, *bounds], name)

    def _by_column(self, floats: Name, grid: Grid, name: Name) -> Name:
        scale, zero = grid.scale.numpy(), grid.zero_point.float().numpy()
        steps = self.writer.op("Div", [floats, self.writer.constant(scale)])
        integers = self._rounded(steps, zero, grid.spec.qmin, grid.spec.qmax)
        if zero.any():
            integers = self.writer.op("Sub", [integers, self.writer.constant(zero)])
        return self.writer.op("Mul", [integers, self.writer.constant(scale)], name)

    def clipped(self, integers: Name, grid: Grid, least: int = 0) -> Name:
        """8-bit integers within a narrower grid, from ``least`` up."""
        if least == 0 and grid.spec.qmax == LARGEST_BYTE:
            return integers
        bounds = [self.writer.constant(np.uint8(bound)) for bound in (least, grid.spec.qmax)]
        return self.writer.op("Clip", [integers, *bounds])


def flat(value: Any) -> list[Value]:
    """Values within lists and tuples, in order."""
    return [one for each in value for one in flat(each)] if isinstance(value, list | tuple) else [value]


def array_of(value: Tensor) -> np.ndarray:
    """A constant as it stands in a graph: floats have 32 bits."""
    value = value.detach()
    return (value.to(torch.float32) if value.is_floating_point() else value).numpy()
