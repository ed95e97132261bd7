"""Observers: they see activations in calibration and say which range a grid should cover.

Sources: moving average and min-max, B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018; histogram-KL, S. Migacz, "8-bit inference with TensorRT", GTC 2017.
All observers but the first two collect one histogram whose range grows with the data.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from kaldi_quant.errors import DataError
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.registry import Registry

_BINS = 4096
# Values that are sorted into bins at once, so that their numbers stay in the caches.
_PIECE = 1 << 20
# A power of two. What is beyond it is divided by it, so that nothing overflows.
_LARGE = 2.0**64


class Observer(ABC):
    """Collects what it needs to know of a tensor over a calibration set."""

    def __init__(self) -> None:
        self.count = 0

    def observe(self, x: Tensor) -> None:
        """Sees one batch. x: float, any shape.

        Raises:
            DataError: the values are not finite.
        """
        if x.numel() == 0:
            return
        x = x.detach().float()
        low, high = (float(bound) for bound in x.aminmax())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise DataError("the calibration data gives activations that are not finite (NaN or infinity)")
        self.count += x.numel()
        self._see(x, low, high)

    def grid(self, spec: QSpec) -> Grid:
        """The grid for what was seen.

        Raises:
            DataError: nothing was seen.
        """
        if self.count == 0:
            raise DataError("the calibration set is empty: there are no activations to observe")
        return self._fit(spec)

    @property
    @abstractmethod
    def signed(self) -> bool:
        """Whether any value was negative."""

    @abstractmethod
    def _see(self, x: Tensor, low: float, high: float) -> None:
        """Sees finite values, float32; low, high: the least and the greatest one."""

    @abstractmethod
    def _fit(self, spec: QSpec) -> Grid: ...


#: Those that a configuration may name.
OBSERVERS: Registry[type[Observer]] = Registry("observer")


@OBSERVERS.add("minmax")
class MinMaxObserver(Observer):
    """The smallest and the largest value."""

    def __init__(self) -> None:
        super().__init__()
        self.low = torch.tensor(torch.inf)
        self.high = torch.tensor(-torch.inf)

    @property
    def signed(self) -> bool:
        return bool((self.low < 0).any())

    def _see(self, x: Tensor, low: float, high: float) -> None:
        self.low, self.high = self.low.clamp_max(low), self.high.clamp_min(high)

    def _fit(self, spec: QSpec) -> Grid:
        return Grid.from_range(spec, self.low, self.high)


class ColumnMinMaxObserver(MinMaxObserver):
    """The smallest and the largest value of each column: for features, whose columns differ in size.

    Args:
        headroom: how much further grids reach, as a factor of the range.
    """

    def __init__(self, headroom: float = 1.0) -> None:
        super().__init__()
        self.headroom = headroom

    def _see(self, x: Tensor, low: float, high: float) -> None:
        rows = x.reshape(-1, x.shape[-1])
        self.low, self.high = torch.minimum(self.low, rows.amin(0)), torch.maximum(self.high, rows.amax(0))

    def _fit(self, spec: QSpec) -> Grid:
        beyond = (self.high - self.low) * (self.headroom - 1) / 2
        return Grid.from_range(spec, self.low - beyond, self.high + beyond)


@OBSERVERS.add("moving-average")
class MovingAverageObserver(Observer):
    """Batches' extremes, averaged with exponential forgetting."""

    def __init__(self, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.low: Tensor | None = None
        self.high: Tensor | None = None

    @property
    def signed(self) -> bool:
        return self.low is not None and float(self.low) < 0

    def _see(self, x: Tensor, low: float, high: float) -> None:
        least, greatest = torch.tensor(low), torch.tensor(high)
        self.low = least if self.low is None else self.low + self.momentum * (least - self.low)
        self.high = greatest if self.high is None else self.high + self.momentum * (greatest - self.high)

    def _fit(self, spec: QSpec) -> Grid:
        assert self.low is not None and self.high is not None
        return Grid.from_range(spec, self.low, self.high)


class HistogramObserver(Observer):
    """A histogram over [-bound, bound] whose bound doubles, by merging bins, when a value lies beyond it."""

    def __init__(self) -> None:
        super().__init__()
        self.bound = 0.0
        self.low, self.high = 0.0, 0.0
        self.counts = torch.zeros(_BINS, dtype=torch.float64)

    @property
    def signed(self) -> bool:
        return self.low < 0

    def _see(self, x: Tensor, low: float, high: float) -> None:
        self.low, self.high = min(self.low, low), max(self.high, high)
        reach = max(-self.low, self.high)
        if self.bound == 0.0:
            self.bound = reach or 1.0
        while reach > self.bound:
            quarter = _BINS // 4
            merged = self.counts.view(-1, 2).sum(1)
            self.counts = torch.nn.functional.pad(merged, (quarter, quarter))
            self.bound *= 2
        for values in x.reshape(-1).split(_PIECE):
            self.counts += _counts(values, self.bound)

    def _centres(self) -> Tensor:
        width = 2 * self.bound / _BINS
        return (torch.arange(_BINS, dtype=torch.float64) + 0.5) * width - self.bound

    def _shares(self, spec: QSpec) -> list[Grid]:
        """Candidate grids over shares of the range that was seen."""
        low, high = torch.tensor(self.low), torch.tensor(self.high)
        return [Grid.from_range(spec, low * share, high * share) for share in torch.linspace(0.1, 1.0, 91).tolist()]


def _counts(x: Tensor, bound: float) -> Tensor:
    """(bins,) int64: how many of values, (n,) float32, lie in each bin from -bound to bound.

    Those of ``torch.histc``, which is slower, and counts in float32 only up to 2^24.
    """
    if bound > _LARGE:
        x, bound = x / _LARGE, bound / _LARGE
    bins = (x + bound).mul_(_BINS).div_(2 * bound).int().clamp_(max=_BINS - 1)
    return torch.bincount(bins, minlength=_BINS)


@OBSERVERS.add("percentile")
class PercentileObserver(HistogramObserver):
    """Cuts off a share of the values at each end."""

    def __init__(self, percentile: float = 99.99) -> None:
        super().__init__()
        self.percentile = percentile

    def _fit(self, spec: QSpec) -> Grid:
        cumulative = self.counts.cumsum(0) / self.counts.sum()
        tail = (100.0 - self.percentile) / 100.0
        centres = self._centres()
        low = centres[int(torch.searchsorted(cumulative, tail).clamp_max(_BINS - 1))]
        high = centres[int(torch.searchsorted(cumulative, 1.0 - tail).clamp_max(_BINS - 1))]
        return Grid.from_range(spec, low.clamp_min(self.low), high.clamp_max(self.high))


@OBSERVERS.add("mse")
class MseObserver(HistogramObserver):
    """The range whose clipping and rounding together lose least in squared error."""

    def _fit(self, spec: QSpec) -> Grid:
        centres = self._centres()
        losses = [(self.counts * (grid.fake(centres) - centres).square()).sum() for grid in self._shares(spec)]
        return self._shares(spec)[int(torch.stack(losses).argmin())]


@OBSERVERS.add("kl")
class KlObserver(HistogramObserver):
    """The range after whose clipping and rounding the distribution of values has diverged least."""

    def _fit(self, spec: QSpec) -> Grid:
        centres, shares = self._centres(), self._shares(spec)
        occupied = self.counts > 0
        p = self.counts / self.counts.sum()
        losses = []
        for grid in shares:
            cells = grid.quantize(centres) - spec.qmin
            mass = torch.zeros(spec.qmax - spec.qmin + 1, dtype=torch.float64).index_add(0, cells.long(), self.counts)
            bins = torch.zeros_like(mass).index_add(0, cells.long(), occupied.double())
            q = (mass / bins.clamp_min(1))[cells.long()] * occupied
            q = q / q.sum()
            losses.append((p[occupied] * (p[occupied] / q[occupied]).log()).sum())
        return shares[int(torch.stack(losses).argmin())]
