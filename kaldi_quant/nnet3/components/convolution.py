"""Convolutions over time and height, and over one frame's patches.

Source: ``src/nnet3/convolution.h`` (``ConvolutionModel``), ``nnet-convolutional-component.h``; ``ConvolutionComponent``
and ``MaxpoolingComponent`` in ``nnet-combined-component.h``.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.kaldi.component import Component
from kaldi_quant.nnet3.components.base import ComponentModule, FrameComponent, Registry, parameter
from kaldi_quant.nnet3.linear import PackedWeight
from kaldi_quant.nnet3.time_access import TimeOffsets


@Registry.register("TimeHeightConvolutionComponent")
class TimeHeightConvolution(ComponentModule):
    """2-D convolution; columns are height-major: (height, filter).

    ``weight``: (filters_out, offsets * filters_in), offsets being (time, height) pairs in the file's order;
    ``bias``: (filters_out,). What lies beyond the height, and time offsets that are not required and missing, are zero.
    """

    access: TimeOffsets
    groups = 1

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        model = component["Model"]
        self.offsets = [(int(time), int(height)) for time, height in model["Offsets"]]
        times = tuple(sorted({time for time, _ in self.offsets}))
        self.access = TimeOffsets(times, frozenset(model["RequiredTimeOffsets"].tolist()))
        self.height_in, self.height_out = model["HeightIn"], model["HeightOut"]
        self.subsample = model["HeightSubsampleOut"]
        heights = [height for _, height in self.offsets]
        self.pad_low = max(0, -min(heights))
        self.pad_high = max(0, (self.height_out - 1) * self.subsample + max(heights) - (self.height_in - 1))
        self.weight = parameter(component["LinearParams"])
        self.bias: nn.Parameter | None = parameter(component["BiasParams"])
        self.product: nn.Module = PackedWeight(self.weight)
        #: What stands for zero beyond the height, where the input holds integers.
        self.zero = 0

    def forward(self, parts: list[Tensor]) -> Tensor:
        """parts: for each time offset the input at t + offset, (N, T, input_dim) → (N, T, output_dim)."""
        padding = (0, 0, self.pad_low, self.pad_high)
        padded = {
            time: functional.pad(part.unflatten(-1, (self.height_in, -1)), padding, value=self.zero)
            for time, part in zip(self.access.offsets, parts, strict=True)
        }
        reach = (self.height_out - 1) * self.subsample + 1
        patches = []
        for time, height in self.offsets:
            first = height + self.pad_low
            patches.append(padded[time][..., first : first + reach : self.subsample, :])
        return self.product(torch.cat(patches, dim=-1), self.bias).flatten(-2)


@Registry.register("ConvolutionComponent")
class Convolution(FrameComponent):
    """Filters over the (x, y) patches of one frame's (x, y, z) tensor. ``weight``: (filters, patch)."""

    columns: Tensor

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        x, y, z = (component[f"Input{axis}Dim"] for axis in "XYZ")
        # InputVectorization 0 is kYzx: the y axis changes fastest; 1 is kZyx.
        columns = np.arange(x * y * z).reshape(x, y, z)
        if component["InputVectorization"] == 0:
            columns = np.arange(x * y * z).reshape(x, z, y).transpose(0, 2, 1)
        windows = np.lib.stride_tricks.sliding_window_view(
            columns, (component["FiltXDim"], component["FiltYDim"]), axis=(0, 1)
        )[:: component["FiltXStep"], :: component["FiltYStep"]]
        patches = windows.transpose(0, 1, 3, 4, 2).reshape(windows.shape[0] * windows.shape[1], -1)
        self.register_buffer("columns", torch.from_numpy(patches.copy()))
        self.weight = parameter(component["FilterParams"])
        self.bias = parameter(component["BiasParams"])
        self.product: nn.Module = PackedWeight(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        patches = x.index_select(-1, self.columns.flatten()).unflatten(-1, self.columns.shape)
        return self.product(patches, self.bias).flatten(-2)


@Registry.register("MaxpoolingComponent")
class Maxpooling(FrameComponent):
    """The maximum over each (x, y, z) pool of one frame's (x, y, z) tensor, whose z axis changes fastest."""

    columns: Tensor

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        sizes = [component[f"Input{axis}Dim"] for axis in "XYZ"]
        pools = [component[f"Pool{axis}Size"] for axis in "XYZ"]
        steps = tuple(slice(None, None, component[f"Pool{axis}Step"]) for axis in "XYZ")
        columns = np.arange(np.prod(sizes)).reshape(sizes)
        windows = np.lib.stride_tricks.sliding_window_view(columns, pools)[steps]
        self.register_buffer("columns", torch.from_numpy(windows.reshape(self.output_dim, -1).copy()))

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(-1, self.columns.flatten()).unflatten(-1, self.columns.shape).amax(dim=-1)
