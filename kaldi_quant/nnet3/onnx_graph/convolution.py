"""Integer convolutions over time and height (``TimeHeightConvolutionComponent``) as ONNX operators.

A track's columns are (height, filter); the operator wants (filter, time, height).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kaldi_quant.backends.onnx.parameters import LinearParameters, WeightForm
from kaldi_quant.backends.onnx.stored_weights import FloatProduct
from kaldi_quant.backends.onnx.writer import Name
from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.component import Component
from kaldi_quant.nnet3.onnx_graph.linear import Output, stored_product
from kaldi_quant.nnet3.onnx_graph.stretches import Stretch
from kaldi_quant.nnet3.onnx_graph.tracks import END, Layout, Track, Tracks
from kaldi_quant.quant.integer_linear import IntegerLinear


@dataclass(frozen=True)
class _Axis:
    """A convolution along one axis: kernel positions first, first + gap, …"""

    first: int
    gap: int
    size: int

    @classmethod
    def of(cls, offsets: Sequence[int]) -> _Axis:
        """The fewest evenly spaced positions that hold all offsets."""
        low, high = min(offsets), max(offsets)
        gap = math.gcd(*(offset - low for offset in offsets)) or 1
        return cls(low, gap, (high - low) // gap + 1)

    @property
    def last(self) -> int:
        return self.first + (self.size - 1) * self.gap

    def index(self, offset: int) -> int:
        return (offset - self.first) // self.gap


@dataclass(frozen=True)
class _Geometry:
    """What a convolution reads, from its component's fields."""

    offsets: list[tuple[int, int]]
    height_in: int
    height_out: int
    stride: int

    @classmethod
    def of(cls, component: Component) -> _Geometry:
        model = component["Model"]
        offsets = [(int(time), int(height)) for time, height in model["Offsets"]]
        return cls(offsets, model["HeightIn"], model["HeightOut"], model["HeightSubsampleOut"])

    @property
    def times(self) -> _Axis:
        return _Axis.of([time for time, _ in self.offsets])

    @property
    def heights(self) -> _Axis:
        """From the first to the last height of the input at least, so that the input is never cut, only padded."""
        offsets = [height for _, height in self.offsets]
        lowest = min(0, *offsets)
        highest = max(self.height_in - 1 - (self.height_out - 1) * self.stride, *offsets)
        return _Axis(lowest, 1, highest - lowest + 1)

    @property
    def padding(self) -> tuple[int, int]:
        """Heights of zeros below and above the input."""
        heights = self.heights
        above = (self.height_out - 1) * self.stride + heights.last - (self.height_in - 1)
        return -heights.first, above


def _stretch(name: str, track: Track) -> Stretch:
    if track.stretch is None:
        raise ModelError(f"the convolution {name} reads one row that stands for all times")
    return track.stretch


def convolve_heights(
    tracks: Tracks, layer: IntegerLinear, component: Component, source: Track, output: Output, form: WeightForm
) -> Track:
    """A convolution whose result goes to a grid.

    Args:
        tracks: the graph.
        layer: its integers.
        component: its geometry.
        source: its whole input.
        output: where the result goes.
        form: how weights are stored.

    Raises:
        ModelError: its input is of a kind that it cannot read.
    """
    writer, geometry, stretch = tracks.writer, _Geometry.of(component), output.stretch
    assert stretch is not None
    parameters = LinearParameters.of(output.name, layer, form)
    if parameters.wide:
        patches = _patches(tracks, _Read.of(parameters), geometry, source, output.name, stretch)
        sums = parameters.wide_sums(writer, output.name, patches)
        planes = output.of_sums(tracks, sums, parameters.bias_scale)
    else:
        value = _convolution(tracks, parameters, geometry, source, output.name, stretch)
        filters = output.quantized(tracks, value)
        planes = writer.op("Transpose", [filters], f"{output.name}.planes", perm=[0, 2, 3, 1])
    dim = geometry.height_out * len(parameters.weight)
    return Track(stretch, dim, {Layout.ROWS: writer.op("Reshape", [planes, writer.integers(0, 0, dim)])}, output.grid)


def _convolution(
    tracks: Tracks, parameters: LinearParameters, geometry: _Geometry, source: Track, name: str, stretch: Stretch
) -> Name:
    """The operator for inputs of 8 bits: (N, filters, times, height_out)."""
    writer, times, below = tracks.writer, geometry.times, _stretch(name, source)
    slack = min(below.last - stretch.last - times.last, stretch.step - below.step)
    needed = Stretch(stretch.first + times.first, below.step, stretch.last + times.last + slack)
    source = _rows(tracks, name, source, needed)
    rows = tracks.name(source, Layout.ROWS)
    arranged = _kernel(parameters, geometry)
    filters_in = arranged.shape[1]
    planes = writer.op("Reshape", [rows, writer.integers(0, 0, geometry.height_in, filters_in)], f"{rows}.heights")
    channels = writer.op("Transpose", [planes], f"{rows}.filters", perm=[0, 3, 1, 2])
    return writer.op(
        "Conv",
        [parameters.input(writer, channels), *parameters.write(writer, name, arranged)],
        f"{name}.sums",
        kernel_shape=list(arranged.shape[2:]),
        dilations=[max(1, times.gap // below.step), 1],
        strides=[stretch.step // below.step, geometry.stride],
        pads=[0, geometry.padding[0], 0, geometry.padding[1]],
    )


def _rows(tracks: Tracks, name: str, source: Track, needed: Stretch) -> Track:
    if not _stretch(name, source).contains(needed):
        raise ModelError(f"the convolution {name} reads frames of a node that are computed at uneven distances")
    return tracks.rows(tracks.without_padding(source), needed)


def _kernel(parameters: LinearParameters, geometry: _Geometry) -> np.ndarray:
    """(filters out, filters in, times, heights): the weight's blocks in their places, zeros elsewhere."""
    filters_out, filters_in = len(parameters.weight), parameters.weight.shape[1] // len(geometry.offsets)
    times, heights = geometry.times, geometry.heights
    arranged = np.full((filters_out, filters_in, times.size, heights.size), parameters.weight_zero)
    for i, (time, height) in enumerate(geometry.offsets):
        block = parameters.weight[:, i * filters_in : (i + 1) * filters_in]
        arranged[:, :, times.index(time), heights.index(height)] = block
    return arranged


def multiply_heights(
    tracks: Tracks,
    layer: IntegerLinear,
    component: Component,
    source: Track,
    name: str,
    stretch: Stretch,
    form: WeightForm,
) -> Track:
    """A convolution whose result is wanted in float: one product with the patches that its filters see.

    Args:
        tracks: the graph.
        layer: its integers.
        component: its geometry.
        source: its whole input.
        name: of the result.
        stretch: the times of the result.
        form: how weights are stored.

    Raises:
        ModelError: its input is of a kind that it cannot read.
    """
    writer, geometry = tracks.writer, _Geometry.of(component)
    parameters = LinearParameters.of(name, layer, form)
    dim = geometry.height_out * len(parameters.weight)
    patches = _patches(tracks, _Read.of(parameters), geometry, source, name, stretch)
    if parameters.wide:
        sums = parameters.wide_sums(writer, name, patches)
        product = writer.op("Mul", [sums, writer.constant(parameters.bias_scale)], f"{name}.filters")
        return Track(stretch, dim, {Layout.ROWS: writer.op("Reshape", [product, writer.integers(0, 0, dim)], name)})
    flat = writer.op("Reshape", [patches, writer.integers(-1, parameters.weight.shape[1])], f"{patches}.flat")
    constants = parameters.write(writer, name, parameters.weight)
    product = writer.op("Gemm", [parameters.input(writer, flat), *constants], f"{name}.filters", transB=1)
    return Track(stretch, dim, {}, flat=(writer.op("Reshape", [product, writer.integers(-1, dim)], name), patches))


def multiply_stored_heights(
    tracks: Tracks, layer: FloatProduct, component: Component, source: Track, name: str, stretch: Stretch
) -> Track:
    """A convolution of floats with weights that are stored as integers; arguments as of ``multiply_heights``."""
    writer, geometry = tracks.writer, _Geometry.of(component)
    rows, columns = layer.weight.integers.shape
    patches = _patches(tracks, _Read(columns, np.float32(0)), geometry, source, name, stretch)
    dim = geometry.height_out * rows
    product = stored_product(writer, layer, patches, name)
    return Track(stretch, dim, {}, flat=(writer.op("Reshape", [product, writer.integers(-1, dim)], name), patches))


@dataclass(frozen=True)
class _Read:
    """What a convolution reads: so many columns at each place, and beyond the edges zeros, of the input's type."""

    columns: int
    zero: np.generic

    @classmethod
    def of(cls, parameters: LinearParameters) -> _Read:
        kind = np.float32 if parameters.wide else np.uint8
        return cls(parameters.weight.shape[1], kind(parameters.input_zero))


def _patches(tracks: Tracks, read: _Read, geometry: _Geometry, source: Track, name: str, stretch: Stretch) -> Name:
    """What the filters see of a track at each time and height: (N, times, height_out, in)."""
    writer, times, below = tracks.writer, geometry.times, _stretch(name, source)
    source = _rows(tracks, name, source, Stretch(stretch.first + times.first, below.step, stretch.last + times.last))
    filters_in = read.columns // len(geometry.offsets)
    rows = tracks.name(source, Layout.ROWS)
    planes = writer.op("Reshape", [rows, writer.integers(0, 0, geometry.height_in, filters_in)], f"{rows}.heights")
    low, high = geometry.padding
    zero = writer.constant(read.zero)
    planes = writer.op("Pad", [planes, writer.integers(0, 0, low, 0, 0, 0, high, 0), zero], f"{rows}.padded")
    patches = []
    for time, height in geometry.offsets:
        begin, left = (time - times.first) // below.step, (times.last - time) // below.step
        lowest = height + low
        highest = lowest + (geometry.height_out - 1) * geometry.stride
        bounds = [
            writer.integers(begin, lowest),
            writer.integers(-left or END, highest + 1),
            writer.integers(1, 2),
            writer.integers(stretch.step // below.step, geometry.stride),
        ]
        patches.append(writer.op("Slice", [planes, *bounds], f"{rows}.patch"))
    return writer.op("Concat", patches, f"{rows}.patches", axis=3)
