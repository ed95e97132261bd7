"""Small random layers of integers that provoke what integer kernels get wrong: saturation, rounding, edges."""

from __future__ import annotations

import numpy as np
import torch

from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import InputGrid, IntegerLinear
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.spec import QSpec

_WIDEST_BIAS = 2**20


def random_layer(
    random: np.random.Generator, rows: int, grid: Grid, columns: int, bits: int = 8, symmetric: bool = True
) -> IntegerLinear:
    """A layer with rows of extreme weights, of zeros and of random ones.

    Args:
        random: the source of randomness.
        rows: output columns.
        grid: of every input column.
        columns: input columns.
        bits: width of the weights.
        symmetric: whether their zero point is zero.
    """
    spec = QSpec(bits, signed=True, symmetric=symmetric, per_channel=symmetric)
    weight = random.integers(spec.qmin, spec.qmax + 1, (rows, columns))
    extreme = [np.full(columns, spec.qmax), np.full(columns, spec.qmin), np.zeros(columns)]
    extreme.append(np.where(np.arange(columns) % 4 < 2, spec.qmax, spec.qmin))
    for row in random.permutation(rows)[: rows // 2]:
        weight[row] = extreme[int(random.integers(len(extreme)))]
    zero_point = 0 if symmetric else int(random.integers(spec.qmin, spec.qmax + 1))
    scale = random.uniform(0.5, 2.0, rows if symmetric else 1) / (spec.qmax * np.sqrt(columns))
    quantized = QuantizedWeight(
        spec,
        torch.from_numpy(weight).int(),
        torch.from_numpy(scale).float().expand(rows).unsqueeze(1).contiguous(),
        torch.full((rows, 1), zero_point, dtype=torch.int32),
    )
    inputs = InputGrid(
        grid.scale.expand(columns).contiguous(),
        grid.zero_point.expand(columns).contiguous(),
        grid.spec.qmin,
        grid.spec.qmax,
        per_column=False,
    )
    bias = torch.from_numpy(random.integers(-_WIDEST_BIAS, _WIDEST_BIAS, rows)).int()
    return IntegerLinear(quantized, bias, inputs)


def random_grid(random: np.random.Generator, bits: int = 8, zero_point: int | None = None, scale: float = 0.05) -> Grid:
    """A grid of unsigned integers; a random zero point where none is given."""
    if zero_point is None:
        zero_point = int(random.integers(0, 2**bits))
    value = torch.tensor(scale * random.uniform(0.5, 2.0), dtype=torch.float32)
    return Grid(QSpec(bits, signed=False, symmetric=False), value, torch.tensor(zero_point, dtype=torch.int32))


def extreme_features(random: np.random.Generator, grid: Grid, shape: tuple[int, ...]) -> torch.Tensor:
    """Random features with many at either end of a grid and beyond; shape: of the result, float32."""
    integers = random.integers(grid.spec.qmin, grid.spec.qmax + 1, shape)
    ends = random.choice([grid.spec.qmin - 100, grid.spec.qmax + 100], shape)
    integers = np.where(random.random(shape) < 0.5, ends, integers)
    return (torch.from_numpy(integers) - grid.zero_point).float() * grid.scale
