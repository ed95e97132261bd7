"""Grids that are found anew while a network is trained: of weights at every step, of activations for every minibatch.

No scale has a gradient. What runs in integers has static ranges: the averages of those of minibatches, with exponential
forgetting, which begin with the ranges of the calibration set. Without gradients, as in validation, and once scales are
frozen, training computes with these averages, too.

Source: R. Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference: a whitepaper", 2018.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.slots import rows_that_count
from kaldi_quant.quant.weight_grids import minmax_grid
from kaldi_quant.train.qat.fake_grid import FakeGrid, not_narrow, round_through
from kaldi_quant.train.qat.trained_weight import TrainedWeight

# How much of a minibatch goes into the averages: that of ``MovingAverageObserver``.
_MOMENTUM = 0.1


class RecomputedGrid(FakeGrid):
    """The grid of a weight from its least to its greatest value.

    Args:
        grid: tells the kind.
        trained: the weight, in float.
        folded: (in,) float32, the scales of the input's columns where these differ, else 1.
        columns: as of ``FakeGrid``.
    """

    folded: Tensor

    def __init__(self, grid: Grid, trained: TrainedWeight, folded: Tensor, columns: int = 0) -> None:
        super().__init__(grid, 1, learned=False, columns=columns)
        # In a list, which hides it: it is the product's.
        self._trained = [trained]
        self.register_buffer("folded", folded)

    @torch.no_grad()
    def _found(self) -> Grid:
        weight = self._trained[0](torch.ones_like(self.folded[:1]), self.folded)
        return minmax_grid(weight, self.spec)

    @property
    def scale(self) -> Tensor:
        """(out, 1), or (out, in) where groups of columns have their own."""
        return self._of_rows(self._found().scale)

    @property
    def zero_point(self) -> Tensor:
        """Likewise, float32."""
        return self._of_rows(self._found().zero_point.float())

    def _of_rows(self, values: Tensor) -> Tensor:
        return values if values.dim() else values.expand(len(self.scale_0), 1)


class FollowedRange(nn.Module):
    """The averages of the ranges of nodes that share a grid.

    Args:
        grid: of the calibration set.
        nodes: how many there are.
    """

    low: Tensor
    high: Tensor
    scale: Tensor
    zero_point: Tensor

    def __init__(self, grid: Grid, nodes: int) -> None:
        super().__init__()
        self.spec, self.frozen = grid.spec, False
        low, high = _range_of(grid)
        self.register_buffer("low", low.expand(nodes).clone())
        self.register_buffer("high", high.expand(nodes).clone())
        self.register_buffer("scale", grid.scale.clone())
        self.register_buffer("zero_point", grid.zero_point.float())

    @torch.no_grad()
    def see(self, place: int, x: Tensor) -> Grid:
        """Takes the values of a minibatch in; returns the grid over these and over what the other nodes had before.

        Args:
            place: of the node.
            x: (N, ..., channels) its values.
        """
        rows = rows_that_count(x)
        if not rows.numel():
            return self.grid()
        least, greatest = rows.aminmax()
        low, high = self.low.clone(), self.high.clone()
        low[place], high[place] = least, greatest
        for average, found in ((self.low, least), (self.high, greatest)):
            average[place] += _MOMENTUM * (found - average[place])
        followed = Grid.from_range(self.spec, self.low.min(), self.high.max())
        self.scale.copy_(followed.scale)
        self.zero_point.copy_(followed.zero_point)
        return Grid.from_range(self.spec, low.min(), high.max())

    def grid(self) -> Grid:
        """Over the averages."""
        return Grid(self.spec, self.scale.clone(), self.zero_point.to(torch.int32))


class FollowedGrid(FakeGrid):
    """The grid of a node, over the range of the minibatch in training, else over averages.

    Args:
        followed: the averages, which the nodes of the grid share.
        place: of the node among these.
        observes: whether it takes part; else it has the averages always, and the range of the calibration set in them.
            So do values within recurrences: the range over all times is not known before the last one.
    """

    def __init__(self, followed: FollowedRange, place: int, observes: bool = True) -> None:
        super().__init__(followed.grid(), 1, learned=False)
        self.followed, self.place, self.observes = followed, place, observes

    @property
    def scale(self) -> Tensor:
        """That of the averages."""
        return self.followed.scale

    @property
    def zero_point(self) -> Tensor:
        """Likewise."""
        return self.followed.zero_point

    def forward(self, x: Tensor) -> Tensor:
        """x rounded to the grid; where gradients are computed and ranges are not frozen, that of these values."""
        x, scale, zero_point = not_narrow(x), self.scale, self.zero_point
        if self.observes and not self.followed.frozen and torch.is_grad_enabled():
            now = self.followed.see(self.place, x.detach())
            scale, zero_point = now.scale, now.zero_point.float()
        # The averages change within a pass; what gradients are computed from must not.
        return round_through(x, scale.clone(), zero_point.clone(), self.spec.qmin, self.spec.qmax)


def followed_grids(grid: Grid, nodes: Sequence[str], within_recurrences: Iterable[str]) -> dict[str, FollowedGrid]:
    """The grids of nodes that share one.

    Args:
        grid: of the calibration set.
        nodes: their names.
        within_recurrences: the nodes that depend on themselves at other times.
    """
    followed, recurrent = FollowedRange(grid, len(nodes)), set(within_recurrences)
    return {name: FollowedGrid(followed, place, name not in recurrent) for place, name in enumerate(nodes)}


class FollowedRanges:
    """The ranges of a network that follow minibatches, ``Observers`` of its training.

    Args:
        grids: by node.
    """

    def __init__(self, grids: dict[str, FollowedGrid]) -> None:
        self.ranges = {id(grid.followed): (name, grid.followed) for name, grid in grids.items()}

    def freeze(self, frozen: bool) -> None:
        """Keeps ranges at the averages, or lets them go on."""
        for _, followed in self.ranges.values():
            followed.frozen = frozen

    def tensors(self) -> dict[str, Tensor]:
        """The averages, and the grids that come of them."""
        return {
            f"{name} {key}": value for name, followed in self.ranges.values() for key, value in followed.named_buffers()
        }


def _range_of(grid: Grid) -> tuple[Tensor, Tensor]:
    """The least and the greatest value; of a grid about its middle as far below as above."""
    least = grid.spec.qmin + (1 if grid.spec.centred else 0)
    low, high = ((end - grid.zero_point) * grid.scale for end in (least, grid.spec.qmax))
    return low, high
