"""Grids for weights: min-max, the scale and zero point of least squared error, the best scale for given integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.scale_groups import blocked, bounds_of, by_column
from kaldi_quant.quant.spec import QSpec

# The best scale lies between the smallest of these shares of the one that clips nothing and all of it; the step is
# divided once more around the best.
_COARSE_SHARES = torch.linspace(0.05, 1.0, 39).tolist()
_FINE_STEPS = (-0.02, -0.015, -0.01, -0.005, 0.005, 0.01, 0.015, 0.02)
# Of rows that do not depend on each other so many values are searched together as the processor's caches hold.
_VALUES_AT_ONCE = 1 << 16
# Grids of at most so many bits try every zero point, wider ones the min-max grid's and so many on either side.
_ALL_ZERO_POINTS_BITS, _ZERO_POINTS_BESIDE = 3, 2


def minmax_grid(weight: Tensor, spec: QSpec) -> Grid:
    """The grid that clips nothing. weight: (..., out, in) float.

    Its scale is (..., out, 1) per channel, (..., out, in) with groups of columns, else ().
    """
    if spec.group_size:
        return _of_groups(minmax_grid, weight, spec)
    low, high = _extremes(weight, spec)
    return Grid.from_range(spec, low, high)


def mse_grid(weight: Tensor, spec: QSpec, importance: Tensor | None = None) -> Grid:
    """The grid whose clipping and rounding together lose least, by search over scales and zero points.

    Args:
        weight: (..., out, in) float.
        spec: width and kind; zero points are searched where it is not symmetric.
        importance: (..., 1, in) not negative: the weight of each column's error, such as the mean square of its input.

    Returns:
        The grid, shaped as that of ``minmax_grid``.
    """
    rows = max(1, _VALUES_AT_ONCE // max(1, weight.shape[-1]))
    if spec.per_channel and weight.dim() == 2 and len(weight) > rows:
        found = [mse_grid(part, spec, importance) for part in weight.split(rows)]
        scales, zero_points = torch.cat([grid.scale for grid in found]), torch.cat([grid.zero_point for grid in found])
        return Grid(spec, scales, zero_points)
    if spec.group_size:
        return _of_groups(mse_grid, weight, spec, importance)
    search = _Search(weight, spec, importance)
    low, high = _extremes(weight, spec)
    for zero_point in _zero_points(spec, search.best.zero_point):
        widest = _widest_scale(spec, low, high, zero_point)
        for share in _COARSE_SHARES:
            search.consider(widest * share, zero_point)
    centre = search.best
    widest = _widest_scale(spec, low, high, centre.zero_point)
    for step in _FINE_STEPS:
        search.consider(centre.scale + widest * step, centre.zero_point)
    return search.best


def refit_scale(weight: Tensor, integers: Tensor, grid: Grid, hessian: Tensor | None = None) -> Grid:
    """The grid with the scale of least squared error for integers that are given: s = <w, q> / <q, q>.

    Where groups of columns have scales of their own, each is fitted in turn, the others being as they are then.

    Args:
        weight: (..., out, in) float.
        integers: (..., out, in) int32, on the grid.
        grid: its zero point stays; so does the scale of rows for which no positive one is best.
        hessian: (..., in, in): what the products are taken under, such as the second moments of the layer's input.
    """
    centred = (integers - grid.zero_point).double()
    if grid.spec.group_size:
        return _refit_groups(weight.double(), centred, grid, hessian)
    pulled = centred if hessian is None else centred @ hessian.double()
    axes = (-1,) if grid.scale.dim() else tuple(range(weight.dim()))
    along = (weight.double() * pulled).sum(axes, keepdim=True)
    length = (centred * pulled).sum(axes, keepdim=True)
    scale = _quotient(along, length, grid.scale)
    return replace(grid, scale=scale if grid.scale.dim() else scale.reshape(()))


def _quotient(along: Tensor, length: Tensor, before: Tensor) -> Tensor:
    """float32: along / length where that is a scale, else the one before."""
    usable = (along > 0) & (length > 0)
    scale = (along / torch.where(usable, length, 1.0)).float()
    return torch.where(usable & (scale > 0) & scale.isfinite(), scale, before.expand_as(scale))


def _refit_groups(weight: Tensor, centred: Tensor, grid: Grid, hessian: Tensor | None) -> Grid:
    h = torch.eye(weight.shape[-1], dtype=torch.float64) if hessian is None else hessian.double()
    scale = grid.scale.clone()
    pull = (weight - centred * scale.double()) @ h
    for part in bounds_of(weight.shape[-1], grid.spec.group_size):
        steps = centred[..., part]
        pulled = steps @ h[..., part, :]
        length = (steps * pulled[..., part]).sum(-1, keepdim=True)
        before = scale[..., part][..., :1]
        along = (steps * pull[..., part]).sum(-1, keepdim=True) + before.double() * length
        found = _quotient(along, length, before)
        pull -= (found.double() - before.double()) * pulled
        scale[..., part] = found
    return replace(grid, scale=scale)


def _of_groups(make: Callable[..., Grid], weight: Tensor, spec: QSpec, importance: Tensor | None = None) -> Grid:
    """The grid that ``make`` finds where each group of columns is a row of its own."""
    size, columns = min(spec.group_size, weight.shape[-1]), weight.shape[-1]
    more = () if importance is None else (blocked(importance, size),)
    found = make(blocked(weight, size), replace(spec, group_size=0), *more)
    scale, zero_point = (by_column(x[..., 0], columns, size) for x in (found.scale, found.zero_point))
    return Grid(spec, scale, zero_point)


class _Search:
    """Keeps the best grid so far, row by row or for the whole matrix; begins with the one that clips nothing."""

    def __init__(self, weight: Tensor, spec: QSpec, importance: Tensor | None) -> None:
        self.weight, self.spec = weight, spec
        self.importance = None if importance is None else importance.to(weight.dtype)
        self.best = minmax_grid(weight, spec)
        self.least = self._loss(self.best)

    def consider(self, scale: Tensor, zero_point: Tensor) -> None:
        """Takes a grid where it is better. scale, zero_point: (..., out, 1) or ()."""
        # A row of zeros, or one that a zero point leaves nothing for, keeps what it has.
        scale = torch.where(scale > 0, scale, self.best.scale).float()
        grid = Grid(self.spec, scale, zero_point)
        loss = self._loss(grid)
        better = loss < self.least
        self.least = torch.where(better, loss, self.least)
        chosen = torch.where(better, grid.scale, self.best.scale)
        self.best = Grid(self.spec, chosen, torch.where(better, grid.zero_point, self.best.zero_point))

    def _loss(self, grid: Grid) -> Tensor:
        error = (grid.fake(self.weight) - self.weight).square_()
        if self.importance is not None:
            error *= self.importance
        return error.sum(-1, keepdim=True) if self.spec.per_channel else error.sum()


def _extremes(weight: Tensor, spec: QSpec) -> tuple[Tensor, Tensor]:
    if spec.per_channel:
        return weight.amin(-1, keepdim=True), weight.amax(-1, keepdim=True)
    return weight.min(), weight.max()


def _zero_points(spec: QSpec, middle: Tensor) -> Iterator[Tensor]:
    if spec.symmetric:
        yield middle
    elif spec.bits <= _ALL_ZERO_POINTS_BITS:
        for value in range(spec.qmin, spec.qmax + 1):
            yield torch.full_like(middle, value)
    else:
        for shift in range(-_ZERO_POINTS_BESIDE, _ZERO_POINTS_BESIDE + 1):
            yield (middle + shift).clamp(spec.qmin, spec.qmax)


def _widest_scale(spec: QSpec, low: Tensor, high: Tensor, zero_point: Tensor) -> Tensor:
    """The scale at which a grid with that zero point reaches both extremes; 0 where it has steps towards neither."""
    above, below = spec.qmax - zero_point, zero_point - spec.qmin
    reach_high = torch.where(above > 0, high.clamp_min(0) / above.clamp_min(1), torch.zeros_like(high))
    reach_low = torch.where(below > 0, -low.clamp_max(0) / below.clamp_min(1), torch.zeros_like(low))
    return torch.maximum(reach_high, reach_low)
