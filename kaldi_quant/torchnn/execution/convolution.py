"""Convolutions on compiled kernels, with channels last in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.backends.kernels.convolution import (
    convolve_to_bytes,
    convolve_to_floats,
    depthwise_to_bytes,
    depthwise_to_floats,
)
from kaldi_quant.backends.kernels.dot import lanes
from kaldi_quant.backends.kernels.products import PackedWeight
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import IntegerLinear
from kaldi_quant.torchnn.execution.linear import columns_grid, signed_bytes_of
from kaldi_quant.torchnn.execution.run import Run
from kaldi_quant.torchnn.execution.values import (
    GridValue,
    Summed,
    channels_last,
    fits_bytes,
    integers_on,
)
from kaldi_quant.torchnn.forms.convolution import Convolution
from kaldi_quant.torchnn.forms.transposed_convolution import TransposedConvolution

# The numbers of places are kept for so many sizes of inputs.
_KEPT_SIZES = 16


@dataclass(frozen=True)
class ConvolutionKernel:
    """A convolution with static ranges, ordinary or transposed, whose channels read all channels or one each.

    Args:
        layer: its geometry.
        rows: of the weight.
        weight: as the kernel reads it.
        compute: the kernel, which takes what ``backends.kernels.convolution`` says.
        bias: int32, less what the input's zero point adds.
        factor: float32: floats, or steps of the output's grid, for each unit of the sums.
        inputs: the grid of the input.
        output: the grid that the result goes to; None where it is wanted in float.
        least: what integers of the result are at least.
        slope: (rows,) float32, of a PReLU that floats go through; ones where there is none.
        takes_moments: whether the sums of floats are taken for a normalization.
    """

    layer: Convolution | TransposedConvolution
    rows: int
    weight: np.ndarray
    compute: Callable[..., None]
    bias: np.ndarray
    factor: np.ndarray
    inputs: Grid
    output: Grid | None
    least: int
    slope: np.ndarray
    takes_moments: bool
    _places: dict[torch.Size, Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        layer: Convolution | TransposedConvolution,
        integers: IntegerLinear,
        output: Grid | None,
        relu: bool,
        slope: np.ndarray | None = None,
        takes_moments: bool = False,
    ) -> ConvolutionKernel | None:
        """The kernel of a layer; None where there is none for its groups, its widths or this processor.

        Args:
            layer: its geometry.
            integers: its numbers.
            output: the grid that its result goes to.
            relu: whether negative results become zero.
            slope: of a PReLU that floats go through: one, or one for each channel.
            takes_moments: whether the sums of floats are taken for a normalization.
        """
        inputs, to_floats = columns_grid(integers.inputs), output is None
        if inputs is None or inputs.scale.dim() or not (output is None or fits_bytes(output)):
            return None
        found = _kernel_and_weight(layer, integers, to_floats)
        if found is None:
            return None
        compute, weight, packed = found
        scale = integers.accumulator_scale if output is None else integers.accumulator_scale / output.scale
        bias = integers.bias.long() - integers.weight.centred.long() @ integers.inputs.zero_point.long()
        rows = len(integers.bias)
        slopes = np.ones(rows, np.float32)
        if slope is not None:
            slopes[:] = np.repeat(slope, layer.rows_per_channel) if slope.size > 1 else slope
        return cls(
            layer,
            rows,
            weight,
            compute,
            bias.int().numpy() if packed is None else packed.of_rows(bias.numpy(), np.int32),
            scale.numpy() if packed is None else packed.of_rows(scale.numpy(), np.float32),
            inputs,
            output,
            0 if output is None else int(output.zero_point) if relu else output.spec.qmin,
            slopes,
            takes_moments,
        )

    def __call__(self, run: Run, value: Any) -> Any:
        """The layer's result; value: (N, channels, *places), or without N."""
        given = integers_on(run, self.inputs, value)
        is_alone = given.dim() == 1 + len(kernel_of(self.layer))
        x = given.unsqueeze(0) if is_alone else given
        places, shape = self._places_of(x.shape[2:])
        rows = channels_last(run, x).flatten(1, -2)
        sizes = (len(x), len(places), self.rows)
        constants = (self.weight, rows.numpy(), places, int(self.inputs.zero_point), self.bias, self.factor)
        if self.output is not None:
            result = torch.empty(sizes, dtype=torch.uint8)
            ends = (int(self.output.zero_point), self.least, self.output.spec.qmax)
            run.do(partial(self.compute, *constants, *ends, result.numpy()))
            return GridValue(self.output, self._moved(run, result, shape, given))
        result = torch.empty(sizes)
        moments = np.zeros((len(x), 2, self.rows if self.takes_moments else 0))
        if self.takes_moments:
            run.do(partial(moments.fill, 0.0))
        run.do(partial(self.compute, *constants, self.slope, result.numpy(), moments))
        moved = self._moved(run, result, shape, given)
        return Summed(moved, moments) if self.takes_moments else moved

    def _moved(self, run: Run, result: Tensor, shape: tuple[int, ...], x: Tensor) -> Tensor:
        """(N, all places, rows) in the form of the layer's output."""
        sums = result.unflatten(1, shape)
        if isinstance(self.layer, TransposedConvolution):
            return run.computed(partial(self.layer.values, sums, x), sums)
        moved = sums.movedim(-1, 1)
        return moved.squeeze(0) if x.dim() == 1 + len(shape) else moved

    def _places_of(self, sizes: torch.Size) -> tuple[np.ndarray, tuple[int, ...]]:
        """What each output reads of an input of these sizes, (outputs, taps), and the sizes of the output."""
        if sizes not in self._places:
            while len(self._places) >= _KEPT_SIZES:
                del self._places[next(iter(self._places))]
            numbers = torch.arange(1, sizes.numel() + 1).view(1, 1, *sizes)
            # Padding has the number zero.
            self._places[sizes] = self.layer.rows(numbers) - 1
        found = self._places[sizes]
        return found.flatten(0, -2).contiguous().numpy(), tuple(found.shape[1:-1])


def _kernel_and_weight(
    layer: Convolution | TransposedConvolution, integers: IntegerLinear, to_floats: bool
) -> tuple[Callable[..., None], np.ndarray, PackedWeight | None] | None:
    """The kernel for a layer's groups, and the weight as it reads it; packed, if it is; None where there is none."""
    weight = signed_bytes_of(integers.weight)
    if weight is None:
        return None
    places = math.prod(kernel_of(layer))
    by_place = weight.reshape(len(weight), -1, places).transpose(0, 2, 1).reshape(weight.shape)
    if layer.groups == 1 and lanes():
        packed = PackedWeight.of(np.ascontiguousarray(by_place))
        return (convolve_to_floats() if to_floats else convolve_to_bytes()), packed.values, packed
    if isinstance(layer, Convolution) and 1 < layer.groups == len(weight) and weight.shape[1] == places:
        of_places = np.ascontiguousarray(weight.T.astype(np.int32))
        return (depthwise_to_floats if to_floats else depthwise_to_bytes), of_places, None
    return None


def kernel_of(layer: Convolution | TransposedConvolution) -> tuple[int, ...]:
    """How many places of the input an output reads, along each axis."""
    return layer.taps if isinstance(layer, TransposedConvolution) else layer.kernel
