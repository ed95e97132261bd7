"""Values of a network that runs in integers: floats, or bytes on a grid, made of each other where they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.backends.kernels.products import floats_of, quantize, quantize_alike
from kaldi_quant.quant.grid import Grid, same_grid
from kaldi_quant.torchnn.execution.run import Run


class GridValue:
    """A value on a grid of unsigned integers of at most 8 bits.

    Args:
        grid: scale and zero point () or, for columns with grids of their own, (columns,).
        integers: uint8; by default made of the floats.
        floats: float32, not on the grid yet.
    """

    def __init__(self, grid: Grid, integers: Tensor | None = None, floats: Tensor | None = None) -> None:
        self.grid = grid
        self._integers, self._given = integers, floats
        self._floats: Tensor | None = None

    def integers(self, run: Run) -> Tensor:
        """uint8."""
        if self._integers is None:
            assert self._given is not None
            self._integers, self._given = put_on(run, self.grid, self._given), None
        return self._integers

    def floats(self, run: Run) -> Tensor:
        """float32, on the grid."""
        if self._floats is None:
            integers = self.integers(run)
            if self.grid.scale.dim():
                self._floats = run.computed(partial(self.grid.dequantize, integers), integers)
            else:
                numbers = (float(self.grid.scale), int(self.grid.zero_point))
                (flat,), shape, back = in_memory_order(run, [integers])
                found = torch.empty(shape)
                run.do(partial(floats_of, flat.numpy(), *numbers, found.view(-1).numpy()))
                self._floats = found.permute(back)
        return self._floats


class Summed:
    """Floats of which a normalization, the only one that reads them, finds its sums beside them.

    Args:
        floats: (N, channels, *places) float32.
        moments: (N, 2, channels) float64: sums over places, and those of squares.
    """

    def __init__(self, floats: Tensor, moments: np.ndarray) -> None:
        self._floats, self.moments = floats, moments

    def floats(self, run: Run) -> Tensor:
        """float32."""
        return self._floats


def channels_last(run: Run, x: Tensor) -> Tensor:
    """(N, channels, *places) as (N, *places, channels), whose values lie one behind the other."""
    return run.contiguous(x.movedim(1, -1))


def in_memory_order(run: Run, values: Sequence[Tensor]) -> tuple[list[Tensor], torch.Size, list[int]]:
    """Tensors whose shapes broadcast, flat, their values in the order in which the first has them in memory.

    Returns:
        The tensors; their shape in that order; and the permutation that leads back.
    """
    shape = torch.broadcast_shapes(*(value.shape for value in values))
    first = values[0].expand(shape)
    strides = first.stride()
    order = sorted(range(len(shape)), key=strides.__getitem__, reverse=True)
    turned = [run.contiguous(value.expand(shape).permute(order)) for value in values]
    return [value.view(-1) for value in turned], turned[0].shape, [order.index(axis) for axis in range(len(order))]


def as_array(run: Run, x: Tensor) -> np.ndarray:
    """A tensor of floats as kernels read it; it changes with the tensor."""
    return run.contiguous(x if x.dtype == torch.float32 else run.computed(x.float, x)).numpy()


def fits_bytes(grid: Grid) -> bool:
    """Whether the integers of a grid are bytes without sign."""
    return not grid.spec.signed and not grid.spec.is_wide and grid.scale.dim() <= 1


def put_on(run: Run, grid: Grid, x: Tensor) -> Tensor:
    """Floats, (..., columns), as bytes on a grid; its scale: () or (columns,)."""
    if not grid.scale.dim():
        (flat,), shape, back = in_memory_order(run, [x if x.dtype == torch.float32 else run.computed(x.float, x)])
        result = torch.empty(shape, dtype=torch.uint8)
        numbers = (float(grid.scale), int(grid.zero_point), grid.spec.qmin, grid.spec.qmax)
        run.do(partial(quantize_alike, flat.numpy(), *numbers, result.view(-1).numpy()))
        return result.permute(back)
    result = torch.empty(x.shape, dtype=torch.uint8)
    columns = x.shape[-1] if x.dim() else 1
    scale, zero_point = (value.float().expand(columns).numpy().copy() for value in (grid.scale, grid.zero_point))
    given = as_array(run, x).reshape(-1, columns)
    arguments = (scale, zero_point, grid.spec.qmin, grid.spec.qmax, result.view(-1, columns).numpy())
    run.do(partial(quantize, given, *arguments))
    return result


def integers_on(run: Run, grid: Grid, value: Any) -> Tensor:
    """The bytes of a value on a grid, which it may lie on already."""
    if isinstance(value, GridValue) and has_integers_of(value.grid, grid):
        return value.integers(run)
    return put_on(run, grid, floats(run, value))


def floats(run: Run, value: Any) -> Any:
    """A value in float, also within tuples."""
    if isinstance(value, tuple | list):
        return type(value)(floats(run, one) for one in value)
    return value.floats(run) if isinstance(value, GridValue | Summed) else value


def integers(run: Run, value: Any) -> Any:
    """The integers of values on grids, also within tuples; other things as they are."""
    if isinstance(value, tuple | list):
        return type(value)(integers(run, one) for one in value)
    return value.integers(run) if isinstance(value, GridValue) else value


def on_grid(grid: Grid, value: Any) -> Any:
    """Integers as values on a grid, also within tuples; other things as they are."""
    if isinstance(value, tuple | list):
        return tuple(on_grid(grid, one) for one in value)
    return GridValue(grid, value) if isinstance(value, Tensor) else value


def common_grid(values: Iterable[Any]) -> Grid | None:
    """The grid that all of some values lie on, if its columns are alike."""
    grids = [value.grid if isinstance(value, GridValue) else None for value in values]
    first = grids[0] if grids else None
    if first is None or first.scale.dim() or not all(grid is not None and same_grid(grid, first) for grid in grids):
        return None
    return first


def has_integers_of(one: Grid, other: Grid) -> bool:
    """Whether equal values have equal integers on two grids, however many each has."""
    same = one.scale.shape == other.scale.shape and one.spec.qmin == other.spec.qmin
    return same and torch.equal(one.scale, other.scale) and torch.equal(one.zero_point, other.zero_point)
