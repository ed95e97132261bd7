"""What the columns of linear layers' inputs hold over a calibration set: sizes of each, and example rows."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.quant.calibration import CalibrationSet, rows_that_count
from kaldi_quant.quant.linear_modules import linear_module

# At least so many rows are kept as examples, where there are as many.
_EXAMPLES = 512


class LayerInputs(torch.nn.Module):
    """Watches a layer's input; stands in for its product meanwhile.

    Args:
        module: the layer's product, which still does the work.
        columns: of the layer's weight.
    """

    def __init__(self, module: torch.nn.Module, columns: int) -> None:
        super().__init__()
        self.module = module
        #: (in,) float32: the largest absolute value.
        self.largest = torch.zeros(columns)
        #: (rows, in) float32: some rows, evenly chosen.
        self.examples = torch.zeros(0, columns)
        self._sizes = torch.zeros(columns, dtype=torch.float64)
        self._count, self._stride = 0, 1

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """As the module that it stands for."""
        rows = rows_that_count(x.detach()).float().cpu()
        sizes = rows.abs()
        self.largest = torch.maximum(self.largest, torch.nn.functional.pad(sizes, (0, 0, 0, 1)).amax(0))
        self._sizes += sizes.sum(0, dtype=torch.float64)
        self._count += len(rows)
        self.examples = torch.cat([self.examples, rows[:: self._stride]])
        while len(self.examples) > 2 * _EXAMPLES:
            self.examples, self._stride = self.examples[::2].clone(), 2 * self._stride
        return self.module(x, bias)

    @property
    def mean_size(self) -> Tensor:
        """(in,) float64: the mean absolute value."""
        return self._sizes / max(1, self._count)


def observe_inputs(model: AcousticModel, layers: Iterable[str], data: CalibrationSet) -> dict[str, LayerInputs]:
    """Watches the inputs of linear layers over a calibration set.

    Args:
        model: made for this purpose; it is of no other use afterwards.
        layers: names of linear components.
        data: the calibration set.

    Raises:
        DataError: the calibration set cannot be used.
    """
    found: dict[str, LayerInputs] = {}
    for name in layers:
        module = linear_module(model, name)
        found[name] = LayerInputs(module.product, module.weight.shape[1])
        module.product = found[name]
    data.run(model, "collecting what layers read")
    return found
