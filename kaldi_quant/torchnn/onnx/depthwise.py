"""Depthwise convolutions of small kernels, whose sums are wanted themselves: place by place of the kernel.

onnxruntime's own operator for that, ConvInteger, multiplies a matrix for each channel.
"""

from __future__ import annotations

import itertools

import numpy as np

from kaldi_quant.backends.onnx.writer import INT32, GraphWriter, Name
from kaldi_quant.torchnn.onnx.geometry import Geometry
from kaldi_quant.torchnn.onnx.patches import taken

# Measured on an x86 processor: with 16 places ConvInteger is as fast.
_MOST_PLACES = 9


def is_small_and_depthwise(weight: np.ndarray, geometry: Geometry) -> bool:
    """Whether each channel is computed from one, by few weights; weight: (out, in)."""
    return len(weight) == geometry.groups and weight.shape[1] == np.prod(geometry.kernel) <= _MOST_PLACES


def depthwise_sums(
    writer: GraphWriter, geometry: Geometry, x: Name, weight: np.ndarray, around: np.generic, zero: int
) -> Name:
    """The products' sums, int32.

    Args:
        writer: the graph.
        geometry: of the convolution.
        x: (N, channels, *places) integers.
        weight: (channels, 1, *kernel), without zero point.
        around: what is put around, of the type of x.
        zero: what is taken from the integers.
    """
    axes = len(geometry.kernel)
    if geometry.pads:
        amounts = writer.integers(0, 0, *geometry.before, 0, 0, *geometry.after)
        x = writer.op("Pad", [x, amounts, writer.constant(around)])
    x = writer.op("Cast", [x], to=INT32)
    if zero:
        x = writer.op("Sub", [x, writer.constant(np.int32(zero))])
    by_place = weight.reshape(len(weight), -1).astype(np.int32)
    total = ""
    for number, place in enumerate(itertools.product(*map(range, geometry.kernel))):
        factors = writer.constant(by_place[:, number].reshape(-1, *[1] * axes))
        product = writer.op("Mul", [taken(writer, geometry, x, place, first_axis=2), factors])
        total = writer.op("Add", [total, product]) if total else product
    return total
