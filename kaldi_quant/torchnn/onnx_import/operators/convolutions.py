"""Convolutions, also transposed ones, over one, two or three axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import fx, nn

from kaldi_quant.torchnn.onnx_import.operator import Operator, adds, parameter
from kaldi_quant.torchnn.onnx_import.operators.products import added_behind, taken_up
from kaldi_quant.torchnn.onnx_import.windows import Window, padded

_CONVOLUTIONS: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED: tuple[type[nn.Module], ...] = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def _weight(operator: Operator) -> np.ndarray:
    weight = operator.constant(1, "a weight")
    if weight.ndim not in (3, 4, 5):
        operator.refuse(f"has a weight of shape {weight.shape}: expected one, two or three axes behind the channels")
    return weight


def _bias(operator: Operator, channels: int, axes: int) -> tuple[str, np.ndarray | None]:
    """The bias of a convolution; its name, where it is added behind it."""
    if operator.has(2):
        return "", operator.constant(2, "a bias").reshape(-1)
    return added_behind(operator, channels, axes)


@adds("Conv")
def convolution(operator: Operator) -> fx.Node:
    """With groups and dilations, padded on either side."""
    weight = _weight(operator)
    window = Window.of(operator, weight.shape[2:])
    groups = operator.attribute("group", 1)
    name, bias = _bias(operator, len(weight), len(window.kernel))
    x, padding = operator.x, window.both
    if padding is None:
        x, padding = padded(operator, x, window, 0.0), (0,) * len(window.kernel)

    def make() -> nn.Module:
        return _module(
            _CONVOLUTIONS[weight.ndim - 3],
            *(weight.shape[1] * groups, len(weight)),
            *(weight, bias),
            *(window.kernel, window.stride, padding),
            dilation=window.dilation,
            groups=groups,
        )

    return taken_up(operator, operator.module(make, [1, 2, name], x, also=padding), name)


def _module(
    kind: type[nn.Module], before: int, after: int, weight: np.ndarray, bias: np.ndarray | None, *args: Any, **more: Any
) -> nn.Module:
    found = kind(before, after, *args, bias=bias is not None, device="meta", **more)
    found.weight = parameter(weight)
    if bias is not None:
        found.bias = parameter(bias)
    return found


@adds("ConvTranspose")
def transposed_convolution(operator: Operator) -> fx.Node:
    """With groups and dilations; places are cut off on either side."""
    weight = _weight(operator)
    axes = weight.ndim - 2
    groups = operator.attribute("group", 1)
    added_places = tuple(operator.attribute("output_padding", [0] * axes))
    window = Window.of_transposed(operator, weight.shape[2:], added_places)
    channels = weight.shape[1] * groups
    name, bias = _bias(operator, channels, axes)
    cut = window.both
    steps = zip(window.stride, window.dilation, added_places, strict=True)
    if any(more >= max(step, gap) for step, gap, more in steps):
        operator.refuse(f"has output_padding {list(added_places)}, which is not below stride or dilation")

    def make() -> nn.Module:
        return _module(
            _TRANSPOSED[axes - 1],
            *(len(weight), channels),
            *(weight, bias),
            *(window.kernel, window.stride),
            padding=(0,) * axes if cut is None else cut,
            output_padding=added_places,
            groups=groups,
            dilation=window.dilation,
        )

    found = operator.module(make, [1, 2, name], operator.x, also=cut)
    if cut is None:
        # Padding by less than nothing.
        found = padded(operator, found, window.cut_off, 0.0)
    return taken_up(operator, found, name)
