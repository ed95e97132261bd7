"""Sums, products and functions of values on grids, byte by byte, on compiled kernels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from kaldi_quant.backends.kernels.elementwise import add, look_up, multiply
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_product import product_scale
from kaldi_quant.quant.integer_sum import ratios_of
from kaldi_quant.torchnn.execution.run import Run
from kaldi_quant.torchnn.execution.values import GridValue, in_memory_order


def on_one_grid_each(values: Sequence[Any]) -> bool:
    """Whether values are bytes with one grid each."""
    return all(isinstance(value, GridValue) and not value.grid.scale.dim() for value in values)


def added_on_grid(run: Run, values: Sequence[GridValue], coefficients: Sequence[float], output: Grid) -> GridValue:
    """``quant.integer_sum`` of two terms."""
    ratio_1, ratio_2, fixed = ratios_of([value.grid for value in values], coefficients, output)
    numbers: tuple[Any, ...] = (float(ratio_1), float(ratio_2), float(fixed), output.spec.qmin, output.spec.qmax)
    return _of_both(run, values, add, numbers, output)


def multiplied_on_grid(run: Run, values: Sequence[GridValue], output: Grid) -> GridValue:
    """``quant.integer_product``."""
    grids = [value.grid for value in values]
    zeros = [int(grid.zero_point) for grid in grids]
    scale, spec = float(product_scale(grids, output)), output.spec
    return _of_both(run, values, multiply, (*zeros, scale, int(output.zero_point), spec.qmin, spec.qmax), output)


def looked_up(run: Run, value: GridValue, table: Tensor, output: Grid | None) -> GridValue | Tensor:
    """What a function of each value by itself gives.

    Args:
        run: in question.
        value: with one grid.
        table: (256,) for each byte: uint8 on the output's grid, or float32.
        output: the grid of the result, if it has one.
    """
    (integers,), shape, back = in_memory_order(run, [value.integers(run)])
    result = torch.empty(shape, dtype=table.dtype)
    run.do(partial(look_up, integers.numpy(), table.numpy(), result.view(-1).numpy()))
    moved = result.permute(back)
    return moved if output is None else GridValue(output, moved)


def _of_both(run: Run, values: Sequence[GridValue], kernel: Any, numbers: tuple[Any, ...], output: Grid) -> GridValue:
    (one, other), shape, back = in_memory_order(run, [value.integers(run) for value in values])
    result = torch.empty(shape, dtype=torch.uint8)
    run.do(partial(kernel, one.numpy(), other.numpy(), *numbers, result.view(-1).numpy()))
    return GridValue(output, result.permute(back))
