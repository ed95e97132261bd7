"""What the columns of layers' inputs hold over a calibration set: sizes of each, and example rows."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from kaldi_quant.quant.host import Data, Executable
from kaldi_quant.quant.slots import columns_of, rows_that_count, watched

# At least so many rows are kept as examples, where there are as many.
_EXAMPLES = 512


class LayerInputs:
    """What a layer reads.

    Args:
        columns: of the layer's weight.
    """

    def __init__(self, columns: int) -> None:
        #: (in,) float32: the largest absolute value.
        self.largest = torch.zeros(columns)
        #: (rows, in) float32: some rows, evenly chosen.
        self.examples = torch.zeros(0, columns)
        self._sizes = torch.zeros(columns, dtype=torch.float64)
        self._count, self._stride = 0, 1

    def see(self, x: Tensor) -> None:
        """Sees rows; x: (..., in)."""
        rows = rows_that_count(x.detach()).float().cpu()
        sizes = rows.abs()
        self.largest = torch.maximum(self.largest, torch.nn.functional.pad(sizes, (0, 0, 0, 1)).amax(0))
        self._sizes += sizes.sum(0, dtype=torch.float64)
        self._count += len(rows)
        self.examples = torch.cat([self.examples, rows[:: self._stride]])
        while len(self.examples) > 2 * _EXAMPLES:
            self.examples, self._stride = self.examples[::2].clone(), 2 * self._stride

    @property
    def mean_size(self) -> Tensor:
        """(in,) float64: the mean absolute value."""
        return self._sizes / max(1, self._count)


def observe_inputs(model: Executable, layers: Iterable[str], data: Data) -> dict[str, LayerInputs]:
    """Watches the inputs of layers over a calibration set.

    Args:
        model: the float network.
        layers: their names.
        data: the calibration set.

    Raises:
        DataError: the calibration set cannot be used.
    """
    found = {name: LayerInputs(columns_of(model, name)) for name in layers}
    with watched(model, {name: inputs.see for name, inputs in found.items()}):
        data.run(model, "collecting what layers read")
    return found
