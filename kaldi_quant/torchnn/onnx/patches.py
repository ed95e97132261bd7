"""What each place of a convolution's output reads, as a row."""

from __future__ import annotations

import itertools

import numpy as np

from kaldi_quant.backends.onnx.writer import GraphWriter, Name
from kaldi_quant.torchnn.onnx.axes import Shape
from kaldi_quant.torchnn.onnx.geometry import Geometry
from kaldi_quant.torchnn.onnx.sizes import END


def patches(writer: GraphWriter, geometry: Geometry, x: Name, shape: Shape, zero: np.generic) -> tuple[Name, Shape]:
    """Rows of a convolution without groups.

    Args:
        writer: the graph.
        geometry: of the convolution.
        x: (N, channels, *places).
        shape: of x, as far as it is known.
        zero: what is put around.

    Returns:
        (N, *output places, kernel places * channels), place after place; and what is known of that shape, but for
        its last axis.
    """
    axes = len(geometry.kernel)
    if geometry.pads:
        amounts = writer.integers(0, 0, *geometry.before, 0, 0, *geometry.after)
        x = writer.op("Pad", [x, amounts, writer.constant(zero)])
    x = writer.op("Transpose", [x], perm=[0, *range(2, 2 + axes), 1])
    parts = [
        taken(writer, geometry, x, place, first_axis=1) for place in itertools.product(*map(range, geometry.kernel))
    ]
    rows = parts[0] if len(parts) == 1 else writer.op("Concat", parts, axis=1 + axes)
    # Only the sizes before the last are asked for: that is a layer's own.
    return rows, (shape[0], *geometry.places(shape[2:]), None)


def taken(writer: GraphWriter, geometry: Geometry, x: Name, place: tuple[int, ...], first_axis: int) -> Name:
    """What all outputs read at one place of the kernel; first_axis: of places."""
    sizes = zip(place, geometry.kernel, geometry.dilation, strict=True)
    ends = [(gap * at, -gap * (size - 1 - at) or END) for at, size, gap in sizes]
    if all(end == (0, END) for end in ends) and all(step == 1 for step in geometry.stride):
        return x
    firsts, lasts = zip(*ends, strict=True)
    bounds = (firsts, lasts, range(first_axis, first_axis + len(place)), geometry.stride)
    return writer.op("Slice", [x, *(writer.integers(*each) for each in bounds)])
