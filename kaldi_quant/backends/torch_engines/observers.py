"""PyTorch's observers and FakeQuantize, by the names in configurations, and their answers as grids and weights.

Both sets, of ``torch.ao.quantization`` and of ``torchao``, have the same classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.backends.torch_engines.observer_names import OBSERVERS
from kaldi_quant.quant.calibration import rows_that_count
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.spec import QSpec


def activation_observer(library: ModuleType, name: str, spec: QSpec) -> Any:
    """Makes observers of activations.

    Args:
        library: the module that has the observers.
        name: of the observer.
        spec: the grid's width; per channel for network inputs.
    """
    common = {"quant_min": spec.qmin, "quant_max": spec.qmax, "dtype": torch.quint8}
    observer = _of_rows_that_count(getattr(library, OBSERVERS[name][spec.per_channel]))
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


@dataclass(frozen=True)
class Prepared:
    """A network's modules with FakeQuantize in them.

    Args:
        products: for each layer what takes its product's place.
        linears: for each layer the part of this that holds weight and bias.
        weights: for each layer the FakeQuantize of its weight.
        taps: for each node that a layer's module does not round, what does.
        activations: for each node on a grid the FakeQuantize, wherever it is; nodes that share a grid share it.
    """

    products: dict[str, nn.Module]
    linears: dict[str, Any]
    weights: dict[str, Any]
    taps: dict[str, nn.Module]
    activations: dict[str, Any]


@cache
def _of_rows(fake_quantize: Any) -> Any:
    """A class of FakeQuantize for rows of a tensor's last axis.

    What no gradients are computed for, as in validation, is not seen. bfloat16 becomes float32: its own steps are
    coarser than those of 8-bit grids.
    """

    class RowsFakeQuantize(fake_quantize):
        def forward(self, x: Tensor) -> Tensor:
            x = x.float() if x.dtype == torch.bfloat16 else x
            paused = bool(self.observer_enabled) and not torch.is_grad_enabled()
            if paused:
                self.disable_observer()
            try:
                rounded: Tensor = super().forward(x.reshape(-1, x.shape[-1]))
            finally:
                if paused:
                    self.enable_observer()
            return rounded.view(x.shape)

    return RowsFakeQuantize


def activation_fake_quantize(library: ModuleType, spec: QSpec) -> Any:
    """Makes those of activations.

    Args:
        library: the module that has FakeQuantize and the observers.
        spec: the grid's width; per channel for network inputs.
    """
    observer = activation_observer(library, "moving-average", spec)
    common = {"quant_min": spec.qmin, "quant_max": spec.qmax}
    return _of_rows(library.FakeQuantize).with_args(observer=observer, **common)


def weight_fake_quantize(library: ModuleType, layer: LayerConfig) -> Any:
    """Makes those of a layer's weights, symmetric."""
    spec = layer.weight_spec()
    common: dict[str, Any] = {"quant_min": spec.qmin, "quant_max": spec.qmax, "dtype": torch.qint8}
    if spec.per_channel:
        observer = library.MovingAveragePerChannelMinMaxObserver
        common |= {"qscheme": torch.per_channel_symmetric, "ch_axis": 0}
    else:
        observer = library.MovingAverageMinMaxObserver
        common |= {"qscheme": torch.per_tensor_symmetric}
    return _of_rows(library.FakeQuantize).with_args(observer=observer, **common)


class BiasOnSteps(nn.Module):
    """A bias rounded to steps of the accumulator, which are coarse at low widths; gradients pass as if it were not.

    Args:
        weight: the FakeQuantize of the layer's weights.
        inputs: that of its input; None where the input's scales are multiplied into the weights.
    """

    def __init__(self, weight: Any, inputs: Any | None) -> None:
        super().__init__()
        # In a list, which hides them: they are others' modules.
        self._factors = [weight] if inputs is None else [weight, inputs]

    def forward(self, bias: Tensor) -> Tensor:
        """bias: (out,)."""
        with torch.no_grad():
            step = torch.ones_like(bias)
            for fake in self._factors:
                step = step * fake.scale
            error = (bias / step).round() * step - bias
        return bias + error


def begin_at(fake: Any, grid: Grid) -> None:
    """Lets a FakeQuantize of activations begin with a grid, () or (dim,)."""
    ends = torch.tensor([[grid.spec.qmin], [grid.spec.qmax]]) - grid.zero_point.reshape(1, -1)
    begin_with(fake, ends * grid.scale.reshape(1, -1))


@torch.no_grad()
def begin_with(fake: Any, values: Tensor) -> None:
    """Lets a FakeQuantize begin with the range of values, (rows, columns)."""
    fake.activation_post_process(values)
    scale, zero_point = fake.calculate_qparams()
    fake.scale, fake.zero_point = scale.float(), zero_point.to(torch.int32)
