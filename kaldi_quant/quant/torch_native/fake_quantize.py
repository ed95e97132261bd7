"""PyTorch's FakeQuantize for quantization-aware training, with observers that keep moving averages."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.ao import quantization as ao

from kaldi_quant.quant.config import LayerConfig
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.quant.torch_native.observed import activation_observer


class RowsFakeQuantize(ao.FakeQuantize):
    """PyTorch's, for rows of a tensor's last axis. What no gradients are computed for, as in validation, is not seen.

    bfloat16 becomes float32: its own steps are coarser than those of 8-bit grids.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x rounded to the grid; x: (..., dim) float."""
        x = x.float() if x.dtype == torch.bfloat16 else x
        enabled = self.observer_enabled
        if not torch.is_grad_enabled():
            self.observer_enabled = torch.zeros_like(enabled)
        try:
            rounded: Tensor = super().forward(x.reshape(-1, x.shape[-1]))
        finally:
            self.observer_enabled = enabled
        return rounded.view(x.shape)


def activation_fake_quantize(spec: QSpec) -> Any:
    """Makes those of activations. spec: the grid's width; per channel for network inputs."""
    observer = activation_observer(ao.observer, "moving-average", spec)
    return RowsFakeQuantize.with_args(observer=observer, quant_min=spec.qmin, quant_max=spec.qmax)


def weight_fake_quantize(layer: LayerConfig) -> Any:
    """Makes those of a layer's weights, symmetric."""
    spec = layer.weight_spec()
    observer = ao.MovingAveragePerChannelMinMaxObserver if spec.per_channel else ao.MovingAverageMinMaxObserver
    scheme = torch.per_channel_symmetric if spec.per_channel else torch.per_tensor_symmetric
    more = {"ch_axis": 0} if spec.per_channel else {}
    return RowsFakeQuantize.with_args(
        observer=observer, quant_min=spec.qmin, quant_max=spec.qmax, dtype=torch.qint8, qscheme=scheme, **more
    )


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
