"""How weights are rounded, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kaldi_quant.quant.gptq import gptq_round
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.layer_reconstruction import reconstruct
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.quant.weight_grids import minmax_grid, mse_grid
from kaldi_quant.registry import Registry


@dataclass(frozen=True)
class RoundingMethod:
    """One way to round.

    Args:
        rounded: grid and integers of a weight (..., out, in) float64, given its spec, the second moments (..., in, in)
            of the layer's input, and what scales stay above, (..., out, 1), or () where the matrix has one scale.
        learns: whether rounding then goes on from there by learning from rows of the layer's input (``adaround``).
    """

    rounded: Callable[[Tensor, QSpec, Tensor, Tensor], tuple[Grid, Tensor]]
    learns: bool = False


#: All methods; each of their modules names its source.
ROUNDING_METHODS: Registry[RoundingMethod] = Registry("rounding method")


def _minmax(weight: Tensor, spec: QSpec, hessian: Tensor, least: Tensor) -> tuple[Grid, Tensor]:
    grid = _not_below(minmax_grid(weight.float(), spec), least)
    return grid, grid.quantize(weight)


def _mse(weight: Tensor, spec: QSpec, hessian: Tensor, least: Tensor) -> tuple[Grid, Tensor]:
    grid = _not_below(mse_grid(weight.float(), spec), least)
    return grid, grid.quantize(weight)


def _clip(weight: Tensor, spec: QSpec, hessian: Tensor, least: Tensor) -> tuple[Grid, Tensor]:
    grid = _least_error(weight, spec, hessian, least)
    return grid, grid.quantize(weight)


def _gptq(weight: Tensor, spec: QSpec, hessian: Tensor, least: Tensor) -> tuple[Grid, Tensor]:
    grid = _least_error(weight, spec, hessian, least)
    return grid, gptq_round(weight, grid, hessian)


def _least_error(weight: Tensor, spec: QSpec, hessian: Tensor, least: Tensor) -> Grid:
    """The grid that loses least in the layer's output, if columns of its input do not depend on each other."""
    importance = hessian.diagonal(dim1=-2, dim2=-1).unsqueeze(-2).float().clamp_min(0)
    return _not_below(mse_grid(weight.float(), spec, importance), least)


def _not_below(grid: Grid, least: Tensor) -> Grid:
    return replace(grid, scale=torch.maximum(grid.scale, least))


ROUNDING_METHODS.add("minmax")(RoundingMethod(_minmax))
ROUNDING_METHODS.add("mse")(RoundingMethod(_mse))
ROUNDING_METHODS.add("clip")(RoundingMethod(_clip))
ROUNDING_METHODS.add("gptq")(RoundingMethod(_gptq))
ROUNDING_METHODS.add("descent")(RoundingMethod(reconstruct))
ROUNDING_METHODS.add("adaround")(RoundingMethod(reconstruct, learns=True))
