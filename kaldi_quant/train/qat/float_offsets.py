"""Grids whose offset is learned as a number in the unit of the values, and becomes an integer zero point at the end.

    rounded = scale * clamp(round((x - offset) / scale), least, greatest) + offset

Source: Y. Bhalgat et al., "LSQ+: improving low-bit quantization through learnable offsets and better initialization",
CVPR workshops 2020. No integer kernel has such a grid: 0 is no point of it, so that padding and sums would need
corrections. What snapping it changes is measured (``snapping``).
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.quant.distance import mean_distance
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.host import Data, Executable
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.train.qat.fake_grid import FakeGrid, not_narrow, round_through, slower

_log = logging.getLogger(__name__)


class FloatOffsetGrid(FakeGrid):
    """A grid of activations with a learned scale and a learned offset, the value of the middle integer.

    Learned are the logarithm of the scale's ratio to the first one, and the offset's shift as a share of the first
    range. Both begin at a grid that was fitted to data.

    Args:
        grid: to begin with; its zero point is a fitted one.
        elements: how many values share the scale, as of ``FakeGrid``.
    """

    offset_0: Tensor

    def __init__(self, grid: Grid, elements: int) -> None:
        super().__init__(grid, elements, zero_learned=False)
        assert grid.spec.is_fitted
        middle = grid.spec.middle
        self.least, self.greatest = grid.spec.qmin - middle, grid.spec.qmax - middle
        self.gradient_scale = (elements * self.greatest) ** -0.5
        self.register_buffer("offset_0", (middle - grid.zero_point) * grid.scale)
        self.shift = nn.Parameter(torch.zeros_like(grid.scale))

    @property
    def offset(self) -> Tensor:
        """() float32, with gradient."""
        assert self.shift is not None
        steps = self.greatest - self.least
        return self.offset_0 + slower(self.shift, self.gradient_scale) * (steps * self.scale_0)

    @property
    def zero_point(self) -> Tensor:
        """() float32: that of the snapped grid."""
        return self.grid().zero_point.float()

    def forward(self, x: Tensor) -> Tensor:
        """x rounded to the grid, which need not hold 0."""
        scale, offset = self.once(lambda: (self.scale, self.offset))
        # Beyond the range the rounding has no gradient, and the offset's is 1; within, they cancel.
        none = torch.zeros_like(offset)
        return round_through(not_narrow(x) - offset, scale, none, self.least, self.greatest) + offset

    @torch.no_grad()
    def grid(self) -> Grid:
        """The grid with an integer zero point, over the same range; widened where that does not hold 0."""
        offset, scale = self.offset.double(), self.scale.double()
        return Grid.from_range(self.spec, offset + self.least * scale, offset + self.greatest * scale)


@dataclass(frozen=True)
class Snapping:
    """How far outputs moved when offsets became integer zero points.

    Args:
        distance: of the network in integers from the one that was trained, for a mean row.
        of_float: of the network in integers from the float network, by the same measure, to compare it with.
        unit: of both.
        offsets: how many there were.
    """

    distance: float
    of_float: float
    unit: str
    offsets: int

    def as_dict(self) -> dict[str, Any]:
        """For records."""
        return asdict(self)


def snapping(
    trained: Executable, offsets: int, network: QuantizedNetwork, float_model: Executable, data: Data
) -> Snapping:
    """Measures what became of outputs when offsets were snapped.

    Args:
        trained: computes as in training.
        offsets: how many of its grids have such an offset.
        network: the same in integers.
        float_model: what it was made from.
        data: inputs, best held-out ones.

    Raises:
        DataError: an output is not finite.
    """
    measure = network.host.distance
    before, after = (dict(data.outputs(model.to(data.device))) for model in (trained, network.model()))
    of_float = mean_distance(measure, dict(data.outputs(float_model.to(data.device))), after)
    found = Snapping(mean_distance(measure, before, after), of_float, measure.unit, offsets)
    _log.info(
        "%d offsets became integer zero points, which moved the output by %.4g %s; it is %.4g from float",
        found.offsets,
        found.distance,
        found.unit,
        found.of_float,
    )
    return found
