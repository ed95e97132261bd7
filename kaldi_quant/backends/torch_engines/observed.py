"""PyTorch's observers by the names that configurations have for them, and their answers as grids and weights.

Both sets, of ``torch.ao.quantization`` and of ``torchao``, have the same classes.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from kaldi_quant.quant.calibration import rows_that_count
from kaldi_quant.quant.config import LayerConfig
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.spec import QSpec

#: For each name the class for a tensor, and the one that does the same for each column of network inputs.
_OBSERVERS = {
    "minmax": ("MinMaxObserver", "PerChannelMinMaxObserver"),
    "moving-average": ("MovingAverageMinMaxObserver", "MovingAveragePerChannelMinMaxObserver"),
    "histogram": ("HistogramObserver", "PerChannelMinMaxObserver"),
}


def activation_observer(library: ModuleType, name: str, spec: QSpec) -> Any:
    """Makes observers of activations.

    Args:
        library: the module that has the observers.
        name: of the observer.
        spec: the grid's width; per channel for network inputs.
    """
    common = {"quant_min": spec.qmin, "quant_max": spec.qmax, "dtype": torch.quint8}
    observer = _of_rows_that_count(getattr(library, _OBSERVERS[name][spec.per_channel]))
    if spec.per_channel:
        return observer.with_args(ch_axis=1, qscheme=torch.per_channel_affine, **common)
    return observer.with_args(qscheme=torch.per_tensor_affine, **common)


@cache
def _of_rows_that_count(observer: Any) -> Any:
    """A class of observers that sees rows of a tensor's last axis, and only those that are finite."""

    class OfRows(observer):
        def forward(self, x: Tensor) -> Tensor:
            rows = rows_that_count(x)
            if len(rows):
                super().forward(rows)
            return x

    return OfRows


def weight_observer(library: ModuleType, layer: LayerConfig) -> Any:
    """Makes observers of weights: the range that clips nothing, symmetric."""
    spec = layer.weight_spec()
    common = {"quant_min": spec.qmin, "quant_max": spec.qmax, "dtype": torch.qint8}
    if spec.per_channel:
        return library.PerChannelMinMaxObserver.with_args(ch_axis=0, qscheme=torch.per_channel_symmetric, **common)
    return library.MinMaxObserver.with_args(qscheme=torch.per_tensor_symmetric, **common)


def observed_grid(observer: Any, spec: QSpec) -> Grid:
    """The grid that an observer chose; symmetric where its zero point is 0."""
    scale, zero_point = observer.calculate_qparams()
    shape = (-1,) if spec.per_channel else ()
    scale, zero_point = scale.float().reshape(shape), zero_point.to(torch.int32).reshape(shape)
    symmetric = not bool(zero_point.any())
    return Grid(QSpec(spec.bits, signed=False, symmetric=symmetric, per_channel=spec.per_channel), scale, zero_point)


def observed_weight(quantized: Tensor, layer: LayerConfig) -> QuantizedWeight:
    """The integers and scales of a weight that PyTorch quantized. quantized: (out, in) qint8."""
    per_channel = quantized.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)
    scale = quantized.q_per_channel_scales() if per_channel else torch.tensor(quantized.q_scale())
    return weight_of_integers(quantized.int_repr(), scale, layer)


def weight_of_integers(integers: Tensor, scale: Tensor, layer: LayerConfig) -> QuantizedWeight:
    """A weight from integers, (out, in) int8, and scales, (out,) or ()."""
    scale = scale.float().reshape((-1, 1) if scale.dim() else ())
    grid = Grid(layer.weight_spec(), scale, torch.zeros_like(scale, dtype=torch.int32))
    return QuantizedWeight.on_grid(grid, integers.to(torch.int32))
