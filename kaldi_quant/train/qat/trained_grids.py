"""What becomes of the grids of weights and activations in training, by the names of methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from kaldi_quant.quant.graph import Nodes, recurrent_nodes
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.registry import Registry
from kaldi_quant.train.qat.fake_grid import FakeGrid
from kaldi_quant.train.qat.float_offsets import FloatOffsetGrid
from kaldi_quant.train.qat.options import DEFAULT_OFFSETS, QatOptions
from kaldi_quant.train.qat.recomputed import RecomputedGrid, followed_grids
from kaldi_quant.train.qat.trained_weight import TrainedWeight


class TrainedGrids(ABC):
    """Makes grids that are trained, or follow what is trained, or stay.

    Args:
        nodes: of the network.
        options: of training.
    """

    def __init__(self, nodes: Nodes, options: QatOptions) -> None:
        self.nodes, self.options = nodes, options

    @abstractmethod
    def of_nodes(self, grid: Grid, names: Sequence[str]) -> dict[str, FakeGrid]:
        """The grids of nodes that share one; grid: of the calibration set."""

    @abstractmethod
    def of_weight(self, weight: QuantizedWeight, trained: TrainedWeight, folded: Tensor) -> FakeGrid:
        """The grid of a weight.

        Args:
            weight: to begin with.
            trained: what is learned of it.
            folded: (in,), what its columns are multiplied by.
        """


#: By the names of methods.
GRIDS: Registry[type[TrainedGrids]] = Registry("method of quantization-aware training")


@GRIDS.add("lsq")
class LearnedGrids(TrainedGrids):
    """Scales are parameters, and of activations zero points, too."""

    def of_nodes(self, grid: Grid, names: Sequence[str]) -> dict[str, FakeGrid]:
        """One grid for all."""
        channels = self.nodes[names[0]].channels
        if self.options.offsets != DEFAULT_OFFSETS and grid.spec.is_fitted:
            return dict.fromkeys(names, FloatOffsetGrid(grid, channels))
        return dict.fromkeys(names, FakeGrid(grid, channels))

    def of_weight(self, weight: QuantizedWeight, trained: TrainedWeight, folded: Tensor) -> FakeGrid:
        """With the weight's zero points, which stay; a weight with one scale keeps to one."""
        spec, columns = weight.spec, weight.integers.shape[1]
        elements = min(spec.group_size, columns) or columns if spec.per_channel else weight.integers.numel()
        return FakeGrid(
            _grid(weight), elements, zero_learned=False, columns=_columns(weight), together=not spec.per_channel
        )


@GRIDS.add("fixed")
class FixedGrids(TrainedGrids):
    """Grids stay."""

    def of_nodes(self, grid: Grid, names: Sequence[str]) -> dict[str, FakeGrid]:
        """One grid for all."""
        return dict.fromkeys(names, FakeGrid(grid, 1, learned=False))

    def of_weight(self, weight: QuantizedWeight, trained: TrainedWeight, folded: Tensor) -> FakeGrid:
        """As it is."""
        return FakeGrid(_grid(weight), 1, learned=False, columns=_columns(weight))


@GRIDS.add("recomputed")
class RecomputedGrids(TrainedGrids):
    """Grids follow weights and minibatches."""

    def of_nodes(self, grid: Grid, names: Sequence[str]) -> dict[str, FakeGrid]:
        """One for each, which share averages."""
        recurrent = recurrent_nodes({name: node.sources for name, node in self.nodes.items()})
        return dict(followed_grids(grid, names, recurrent))

    def of_weight(self, weight: QuantizedWeight, trained: TrainedWeight, folded: Tensor) -> FakeGrid:
        """From the least to the greatest weight."""
        return RecomputedGrid(_grid(weight), trained, folded, _columns(weight))


def _grid(weight: QuantizedWeight) -> Grid:
    """Of rows, or of groups of columns."""
    return Grid(weight.spec, weight.scale, weight.zero_point)


def _columns(weight: QuantizedWeight) -> int:
    """Those of the weight, where groups of them have scales of their own."""
    return weight.integers.shape[1] if weight.is_groupwise else 0
