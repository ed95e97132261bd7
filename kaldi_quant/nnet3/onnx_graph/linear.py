"""Integer layers as ONNX operators: convolutions over time where the result goes to a grid, else a Gemm.

The frames that a layer splices are a convolution's kernel: onnxruntime reads them where they lie and copies nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch

from kaldi_quant.backends.onnx.parameters import LinearParameters, WeightForm
from kaldi_quant.backends.onnx.stored_weights import FloatProduct, stored_rows
from kaldi_quant.backends.onnx.writer import GraphWriter, Name
from kaldi_quant.nnet3.onnx_graph.stretches import Stretch
from kaldi_quant.nnet3.onnx_graph.tracks import Layout, Track, Tracks
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import IntegerLinear


@dataclass(frozen=True)
class Piece:
    """Columns of a layer's input.

    Args:
        track: where they are.
        stretch: at which times; None for one row that stands for all times.
    """

    track: Track
    stretch: Stretch | None

    def rows(self, tracks: Tracks) -> Track:
        """Their values alone."""
        return self.track if self.stretch is None else tracks.rows(self.track, self.stretch)


@dataclass(frozen=True)
class Output:
    """Where a layer's result goes.

    Args:
        name: of the value.
        stretch: its times; None for one row that stands for all times.
        grid: the grid that it is put on.
        relu: whether negative values become zero.
    """

    name: Name
    stretch: Stretch | None
    grid: Grid
    relu: bool

    def quantized(self, tracks: Tracks, value: Name) -> Name:
        """A float value on the grid. Where zero is the grid's lower end, ReLU is what the grid does anyhow."""
        writer, grid = tracks.writer, self.grid
        zero = int(grid.zero_point)
        constants = [writer.constant(grid.scale.numpy()), writer.constant(np.uint8(zero))]
        name = writer.op("QuantizeLinear", [value, *constants], self.name)
        return tracks.clipped(name, grid, zero if self.relu else 0)

    def of_sums(self, tracks: Tracks, sums: Name, scale: np.ndarray) -> Name:
        """Accumulators in float32 on the grid, with the reference's own operations; scale: theirs, (out,)."""
        multiplier = tracks.writer.constant(scale / self.grid.scale.numpy())
        steps = tracks.writer.op("Mul", [sums, multiplier], f"{self.name}.steps")
        return replace(self, grid=replace(self.grid, scale=torch.ones(()))).quantized(tracks, steps)


@dataclass(frozen=True)
class _Kernel:
    """A convolution that reads the pieces where they lie."""

    source: Track
    size: int
    dilation: int
    stride: int


def _kernel(tracks: Tracks, pieces: Sequence[Piece]) -> _Kernel | None:
    """The convolution that splices, if the pieces are evenly spaced frames of one track."""
    track, stretches = pieces[0].track, [piece.stretch for piece in pieces if piece.stretch is not None]
    if track.stretch is None or any(piece.track is not track for piece in pieces) or len(stretches) < len(pieces):
        return None
    gaps = {after.first - before.first for before, after in pairwise(stretches)}
    if len(gaps) > 1 or any(gap <= 0 for gap in gaps):
        return None
    first, last, step = stretches[0], stretches[-1], track.stretch.step
    # What lies behind the last row and is less than a stride does no harm.
    slack = min(track.stretch.last - last.last, first.step - step)
    needed = Stretch(first.first, step, last.last + slack)
    gap = gaps.pop() if gaps else step
    return _Kernel(tracks.rows(track, needed), len(pieces), gap // step, first.step // step)


def convolve(
    tracks: Tracks, layer: IntegerLinear, pieces: Sequence[Piece], output: Output, form: WeightForm, align: int
) -> Track:
    """A layer whose result goes to a grid.

    Args:
        tracks: the graph.
        layer: its integers.
        pieces: of its input, in the order of its columns.
        output: where the result goes.
        form: how weights are stored.
        align: output columns are padded to a multiple of it.
    """
    rows = len(layer.weight.integers)
    padding = -rows % align
    parameters = LinearParameters.of(output.name, layer, form).padded_rows(rows + padding)
    if parameters.wide:
        sums = _wide_sums(tracks, parameters, pieces, output.name)
        names = {Layout.ROWS: output.of_sums(tracks, sums, parameters.bias_scale)}
        return Track(output.stretch, rows, names, output.grid, padding)
    kernel = _kernel(tracks, pieces)
    if kernel is None:
        spliced = tracks.beside([piece.rows(tracks) for piece in pieces], output.name)
        kernel = _Kernel(spliced, 1, 1, 1)
    arranged = parameters.weight.reshape(rows + padding, kernel.size, -1).transpose(0, 2, 1)
    more = kernel.source.padding
    arranged = np.pad(arranged, ((0, 0), (0, more), (0, 0)), constant_values=parameters.weight_zero)
    writer = tracks.writer
    value = writer.op(
        "Conv",
        [
            parameters.input(writer, tracks.name(kernel.source, Layout.CHANNELS)),
            *parameters.write(writer, output.name, arranged),
        ],
        f"{output.name}.sums",
        kernel_shape=[kernel.size],
        dilations=[kernel.dilation],
        strides=[kernel.stride],
    )
    names = {Layout.CHANNELS: output.quantized(tracks, value)}
    return Track(output.stretch, rows, names, output.grid, padding)


def multiply(
    tracks: Tracks, layer: IntegerLinear, pieces: Sequence[Piece], name: Name, stretch: Stretch | None, form: WeightForm
) -> Track:
    """A layer whose result is wanted in float.

    Args:
        tracks: the graph.
        layer: its integers.
        pieces: of its input, in the order of its columns.
        name: of the result.
        stretch: the times of the result; None for one row.
        form: how weights are stored.
    """
    parameters = LinearParameters.of(name, layer, form)
    if parameters.wide:
        scale = tracks.writer.constant(parameters.bias_scale)
        product = tracks.writer.op("Mul", [_wide_sums(tracks, parameters, pieces, name), scale], name)
        return Track(stretch, len(parameters.weight), {Layout.ROWS: product})
    source = tracks.beside([piece.rows(tracks) for piece in pieces], name)
    padded = np.pad(parameters.weight, ((0, 0), (0, source.padding)), constant_values=parameters.weight_zero)
    parameters = replace(parameters, weight=padded)
    writer = tracks.writer
    rows = tracks.name(source, Layout.ROWS)
    flat = writer.op("Reshape", [rows, writer.integers(-1, source.dim + source.padding)], f"{rows}.flat")
    constants = parameters.write(writer, name, parameters.weight)
    product = writer.op("Gemm", [parameters.input(writer, flat), *constants], name, transB=1)
    return Track(stretch, len(padded), {}, flat=(product, rows))


def multiply_stored(tracks: Tracks, layer: FloatProduct, source: Track, name: Name) -> Track:
    """A layer that multiplies floats by weights that are stored as integers.

    Args:
        tracks: the graph.
        layer: its numbers.
        source: the columns of its input, in float.
        name: of the result.
    """
    rows = tracks.name(source, Layout.ROWS)
    return replace(source, dim=len(layer.bias), names={}, flat=(stored_product(tracks.writer, layer, rows, name), rows))


def stored_product(writer: GraphWriter, layer: FloatProduct, rows: Name, name: Name) -> Name:
    """The product of such a layer and (..., in): (rows, out)."""
    flat = writer.op("Reshape", [rows, writer.integers(-1, layer.weight.integers.shape[1])], f"{rows}.flat")
    bias = writer.constant(layer.bias.numpy(), f"{name}.bias")
    return writer.op("Gemm", [flat, stored_rows(writer, name, layer), bias], name, transB=1)


def _wide_sums(tracks: Tracks, parameters: LinearParameters, pieces: Sequence[Piece], name: Name) -> Name:
    source = tracks.beside([tracks.in_floats(piece.rows(tracks)) for piece in pieces], name)
    return parameters.wide_sums(tracks.writer, name, tracks.name(source, Layout.ROWS))
