"""Grids for weights: min-max, and the scale that minimises the squared error."""

import torch
from torch import Tensor

from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.spec import QSpec

# The best scale lies between this share of the min-max scale and all of it: searched in so many even steps.
_SMALLEST_SHARE, _STEPS = 0.2, 81


def minmax_grid(weight: Tensor, spec: QSpec) -> Grid:
    """The grid that clips nothing. weight: (out, in) float; scale: (out, 1) per channel, else ()."""
    if spec.per_channel:
        return Grid.from_range(spec, weight.amin(1, keepdim=True), weight.amax(1, keepdim=True))
    return Grid.from_range(spec, weight.min(), weight.max())


def mse_grid(weight: Tensor, spec: QSpec, importance: Tensor | None = None) -> Grid:
    """The grid whose clipping and rounding together lose least, by search over shares of the min-max range.

    Args:
        weight: (out, in) float.
        spec: width and kind.
        importance: (in,) positive: the weight of each column's error, such as the mean square of its input.
    """
    widest = minmax_grid(weight, spec)
    low = weight.amin(1, keepdim=True) if spec.per_channel else weight.min()
    high = weight.amax(1, keepdim=True) if spec.per_channel else weight.max()
    best, least = widest.scale.clone(), torch.full_like(widest.scale, torch.inf)
    zero_point = widest.zero_point.clone()
    for share in torch.linspace(_SMALLEST_SHARE, 1.0, _STEPS).tolist():
        grid = Grid.from_range(spec, low * share, high * share)
        error = (grid.fake(weight) - weight).square()
        if importance is not None:
            error = error * importance
        loss = error.sum(1, keepdim=True) if spec.per_channel else error.sum()
        better = loss < least
        least = torch.where(better, loss, least)
        best = torch.where(better, grid.scale, best)
        zero_point = torch.where(better, grid.zero_point, zero_point)
    return Grid(spec, best, zero_point)
