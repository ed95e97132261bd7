"""Largest values."""

from __future__ import annotations

from typing import Any

from kaldi_quant.backends.onnx.writer import Name
from kaldi_quant.torchnn.forms.convolution import Sizes, sizes_of
from kaldi_quant.torchnn.onnx.operation import Operation, adds
from kaldi_quant.torchnn.onnx.operations.slices import cut


@adds("max_pool1d", "max_pool2d", "max_pool3d", "_max_pool1d", "_max_pool2d", "_max_pool3d")
def max_pool(operation: Operation) -> Name:
    """Over windows."""
    axes = int(operation.name[-2])
    kernel: Any = sizes_of(operation.argument(1, "kernel_size"), axes)
    stride = operation.argument(2, "stride") or kernel
    padding, dilation = (
        sizes_of(operation.argument(3, "padding", 0), axes),
        sizes_of(operation.argument(4, "dilation", 1), axes),
    )
    if operation.argument(5, "ceil_mode", False):
        operation.refuse("has no ONNX form with ceil_mode")
    return over_windows(
        operation,
        "MaxPool",
        kernel_shape=kernel,
        strides=sizes_of(stride, axes),
        pads=[*padding, *padding],
        dilations=dilation,
    )


def over_windows(operation: Operation, name: str, kernel_shape: Sizes, **attributes: Any) -> Name:
    """A pool of ONNX, which asks for the axis of a batch: torch takes one input without it, too."""
    if len(operation.before) > 1 + len(kernel_shape):
        return operation.op(name, [operation.x], kernel_shape=kernel_shape, **attributes)
    batch = operation.writer.integers(0)
    x = operation.op("Unsqueeze", [operation.x, batch])
    return operation.op("Squeeze", [operation.op(name, [x], kernel_shape=kernel_shape, **attributes), batch])


def windows(size: int, places: int) -> list[tuple[int, int]]:
    """What each place of an adaptive pool reads: (first, behind the last)."""
    return [(place * size // places, -(-(place + 1) * size // places)) for place in range(places)]


def adaptive(operation: Operation, reduce: str) -> Name:
    """A pool to a given size: each axis by itself."""
    axes = int(operation.name[-2])
    wanted = operation.argument(1, "output_size")
    goals = list(wanted) if isinstance(wanted, list | tuple) else [wanted] * axes
    x, rank = operation.x, len(operation.before)
    for axis, places in zip(range(rank - axes, rank), goals, strict=True):
        if places is None:
            continue
        if places == 1:
            x = _over(operation, x, axis, reduce)
            continue
        parts = [
            _over(operation, cut(operation, x, axis, first, last), axis, reduce)
            for first, last in windows(operation.size_known(axis), places)
        ]
        x = operation.op("Concat", parts, axis=axis)
    return x


def _over(operation: Operation, x: Name, axis: int, reduce: str) -> Name:
    return operation.op(reduce, [x], axes=[axis], keepdims=1)


@adds(
    *("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"),
    *("_adaptive_max_pool1d", "_adaptive_max_pool2d", "_adaptive_max_pool3d"),
)
def adaptive_max_pool(operation: Operation) -> Name:
    """Over windows that make a given number of places."""
    return adaptive(operation, "ReduceMax")
