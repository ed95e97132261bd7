"""Means over windows, in float."""

from __future__ import annotations

from kaldi_quant.backends.onnx.writer import Name
from kaldi_quant.torchnn.forms.convolution import sizes_of
from kaldi_quant.torchnn.onnx.operation import Operation, adds
from kaldi_quant.torchnn.onnx.operations.maxima import adaptive, over_windows


@adds("avg_pool1d", "avg_pool2d", "avg_pool3d")
def average_pool(operation: Operation) -> Name:
    """Over windows."""
    axes = int(operation.name[-2])
    kernel = sizes_of(operation.argument(1, "kernel_size"), axes)
    stride = operation.argument(2, "stride")
    stride = kernel if stride in (None, ()) else sizes_of(stride, axes)
    padding = sizes_of(operation.argument(3, "padding", 0), axes)
    if operation.argument(4, "ceil_mode", False) or operation.argument(6, "divisor_override") is not None:
        operation.refuse("has no ONNX form with ceil_mode or divisor_override")
    return over_windows(
        operation,
        "AveragePool",
        kernel_shape=kernel,
        strides=stride,
        pads=[*padding, *padding],
        count_include_pad=int(operation.argument(5, "count_include_pad", True)),
    )


@adds("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def adaptive_average_pool(operation: Operation) -> Name:
    """Over windows that make a given number of places: along each axis by itself, which gives the same mean."""
    return adaptive(operation, "ReduceMean")
