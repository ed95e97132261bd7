"""Largest values and means over windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.nn import functional

from kaldi_quant.torchnn.onnx_import.operator import Operator, adds
from kaldi_quant.torchnn.onnx_import.windows import Window, padded

_MAXIMA: dict[int, Callable[..., Any]] = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}
_MEANS: dict[int, Callable[..., Any]] = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}


def _window(operator: Operator) -> tuple[Window, bool]:
    kernel = operator.attribute("kernel_shape")
    if not kernel or len(kernel) not in _MAXIMA:
        operator.refuse("should have windows of one, two or three axes")
    return Window.of(operator, kernel), bool(operator.attribute("ceil_mode", 0))


def _fits(window: Window) -> bool:
    """Whether torch puts that much around an input by itself."""
    return window.both is not None and all(
        2 * size <= kernel for size, kernel in zip(window.both, window.kernel, strict=True)
    )


@adds("MaxPool")
def max_pool(operator: Operator) -> fx.Node:
    """The largest."""
    window, rounds_up = _window(operator)
    operator.expect("storage_order", 0)
    x, padding = operator.x, window.both
    if padding is None or not _fits(window):
        x, padding = padded(operator, x, window, -torch.inf), (0,) * len(window.kernel)
    options = (window.kernel, window.stride, padding, window.dilation)
    return operator.call(_MAXIMA[len(window.kernel)], x, *options, ceil_mode=rounds_up)


@adds("AveragePool")
def average_pool(operator: Operator) -> fx.Node:
    """The mean."""
    window, rounds_up = _window(operator)
    counts_padding = bool(operator.attribute("count_include_pad", 0))
    if any(gap != 1 for gap in window.dilation):
        operator.refuse("has dilations, which is not understood")
    compute, x = _MEANS[len(window.kernel)], operator.x
    if window.both is not None and _fits(window):
        return operator.call(compute, x, window.kernel, window.stride, window.both, rounds_up, counts_padding)
    if rounds_up:
        operator.refuse("has ceil_mode and different amounts of padding, which is not understood")

    def means(of: fx.Node) -> fx.Node:
        return operator.call(compute, padded(operator, of, window, 0.0), window.kernel, window.stride)

    if counts_padding:
        return means(x)
    return operator.call(torch.div, means(x), means(operator.call(torch.ones_like, x)))


@adds("GlobalAveragePool", "GlobalMaxPool")
def over_all_places(operator: Operator) -> fx.Node:
    """Over all axes behind the channels."""
    axes = tuple(range(2, operator.rank()))
    function = torch.mean if operator.kind == "GlobalAveragePool" else torch.amax
    return operator.call(function, operator.x, axes, True)
