"""How much a linear layer's output loses by rounding, estimated for any rescaling of its input's columns.

The rounding of activations and that of weights count as independent, and so do the errors of different columns: the
expected squared error is the sum over columns of the column's squared weights times the mean squared error of its
activations, and of its activations' variance times the squared error of its weights. The mean of the activations does
not count, as its share of the error is constant, which bias correction takes away.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kaldi_quant.quant.observers import MseObserver
from kaldi_quant.quant.weight_grids import minmax_grid, mse_grid

if TYPE_CHECKING:
    from kaldi_quant.quant.layer_config import LayerConfig

# So many rows of a weight, evenly chosen, stand for all.
_ROWS = 64


@dataclass(frozen=True)
class RoundingError:
    """The estimate for one layer.

    Args:
        config: the widths.
        weight: (out, in) float64.
        inputs: (rows, in) float64: examples of the layer's input.
    """

    config: LayerConfig
    weight: Tensor
    inputs: Tensor

    def relative(self, factor: Tensor) -> float:
        """The share of the output's variance that is lost when the input is divided by a factor.

        Args:
            factor: (in,) float64 positive; the weights are multiplied by it.
        """
        return (self._of_activations(factor) + self._of_weights(factor)) / self._output_variance

    @cached_property
    def _output_variance(self) -> float:
        return max(float(_variance(self.inputs @ self.weight.T).sum()), torch.finfo(torch.float64).tiny)

    @cached_property
    def _input_variance(self) -> Tensor:
        return _variance(self.inputs)

    def _of_activations(self, factor: Tensor) -> float:
        if self.config.weights_only:
            return 0.0
        scaled = self.inputs / factor
        observer = MseObserver()
        observer.observe(scaled)
        grid = observer.grid(self.config.activation_spec(observer.signed))
        return float(_variance(grid.fake(scaled) - scaled) @ (self.weight * factor).square().sum(0))

    def _of_weights(self, factor: Tensor) -> float:
        scaled = self.weight[:: max(1, len(self.weight) // _ROWS)] * factor
        variance = self._input_variance / factor.square()
        spec = self.config.weight_spec()
        grid = minmax_grid(scaled, spec) if self.config.method == "minmax" else mse_grid(scaled, spec, variance)
        return float(((grid.fake(scaled) - scaled).square() @ variance).mean()) * len(self.weight)


def _variance(x: Tensor) -> Tensor:
    """Of each column; torch's own takes ten times as long."""
    return x.square().mean(0) - x.mean(0).square()
