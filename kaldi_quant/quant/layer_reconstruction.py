"""One layer's grid and integers from second moments of its input: search, GPTQ, coordinate descent, scales refitted."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from kaldi_quant.quant.coordinate_descent import descend
from kaldi_quant.quant.damping import DAMPING, ordered_factor
from kaldi_quant.quant.gptq import round_in_order
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.quant.weight_grids import mse_grid, refit_scale

#: How often scales are fitted to the integers and these to the scales.
REFITS = 3


def reconstruct(
    weight: Tensor,
    spec: QSpec,
    hessian: Tensor,
    least_scale: Tensor | None = None,
    refits: int = REFITS,
    damping: float = DAMPING,
) -> tuple[Grid, Tensor]:
    """Grid and integers whose product with the layer's input is nearest to the weight's.

    Args:
        weight: (..., out, in) float: the layer's, or the one that makes up for the layers before (``PairedMoments``).
        spec: width and kind of the grid.
        hessian: (..., in, in), second moments of the layer's input: about their mean where the bias is corrected
            afterwards.
        least_scale: (..., out, 1) or (): scales stay above it.
        refits: rounds of fitting scales and integers to each other.
        damping: added to the diagonal of ``hessian``, as a share of its mean.

    Returns:
        The grid, and (..., out, in) int32.
    """
    moments = ordered_factor(hessian, damping)
    h = moments.matrix
    grid = _not_below(mse_grid(weight.float(), spec, h.diagonal(dim1=-2, dim2=-1).unsqueeze(-2).float()), least_scale)
    integers = descend(weight, round_in_order(weight, grid, moments), grid, h)
    for _ in range(refits):
        grid = _not_below(refit_scale(weight, integers, grid, h), least_scale)
        integers = descend(weight, integers, grid, h)
    return _not_below(refit_scale(weight, integers, grid, h), least_scale), integers


def _not_below(grid: Grid, least: Tensor | None) -> Grid:
    return grid if least is None else replace(grid, scale=torch.maximum(grid.scale, least.to(grid.scale.dtype)))
