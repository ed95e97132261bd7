"""Values less their mean, divided by their deviation, in float."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from kaldi_quant.backends.onnx.writer import Name
from kaldi_quant.torchnn import rounded_once
from kaldi_quant.torchnn.onnx.operation import Operation, adds
from kaldi_quant.torchnn.onnx.operations.reductions import variance_of
from kaldi_quant.torchnn.onnx.wide import Wide


def _learned(operation: Operation, place: int, name: str) -> np.ndarray | None:
    found = operation.constant_of(place, name)
    if found is None and operation.argument(place, name) is not None:
        operation.refuse(f"has an ONNX form with a learned {name} alone")
    return None if found is None else found.detach().float().numpy()


def _normed(operation: Operation, x: Name, axes: list[int], epsilon: float) -> Name:
    apart, variance = variance_of(operation, x, axes)
    return operation.op("Div", [apart, operation.op("Sqrt", [operation.op("Add", [variance, epsilon])])])


def _with(operation: Operation, x: Name, weight: np.ndarray | None, bias: np.ndarray | None) -> Name:
    """A weight and a bias that broadcast."""
    if weight is not None:
        x = operation.op("Mul", [x, operation.writer.constant(weight)])
    return x if bias is None else operation.op("Add", [x, operation.writer.constant(bias)])


def _on_channels(operation: Operation, values: np.ndarray | None) -> np.ndarray | None:
    return None if values is None else values.reshape(-1, *[1] * (len(operation.before) - 2))


@adds("layer_norm")
def layer_norm(operation: Operation) -> Name:
    """Over the last axes."""
    rank, count = len(operation.before), len(operation.argument(1, "normalized_shape"))
    axes, epsilon = list(range(rank - count, rank)), operation.argument(4, "eps", 1e-5)
    if operation.node.target is rounded_once.layer_norm:
        return _layer_norm_rounded_once(operation, axes, epsilon)
    normed = _normed(operation, operation.x, axes, epsilon)
    return _with(operation, normed, _learned(operation, 2, "weight"), _learned(operation, 3, "bias"))


def _layer_norm_rounded_once(operation: Operation, axes: list[int], epsilon: float) -> Name:
    wide = Wide(operation.writer)
    x = wide.of(operation.x)
    apart = wide.op("Sub", x, wide.op("ReduceMean", x, axes=axes, keepdims=1))
    variance = wide.op("ReduceMean", wide.op("Mul", apart, apart), axes=axes, keepdims=1)
    found = wide.op("Div", apart, wide.op("Sqrt", wide.op("Add", variance, float(epsilon))))
    for place, name, kind in ((2, "weight", "Mul"), (3, "bias", "Add")):
        values = _learned(operation, place, name)
        if values is not None:
            found = wide.op(kind, found, operation.writer.constant(values.astype(np.float64)))
    return wide.rounded(found)


@adds("group_norm")
def group_norm(operation: Operation) -> Name:
    """Over groups of channels and all places."""
    groups = operation.argument(1, "num_groups")
    if operation.node.target is rounded_once.group_norm:
        given = _learned(operation, 2, "weight"), _learned(operation, 3, "bias")
        return _group_norm_rounded_once(operation, groups, operation.argument(4, "eps", 1e-5), *given)
    apart = operation.sizes.reshaped(operation.x, [0, groups, -1])
    normed = _normed(operation, apart, [2], operation.argument(4, "eps", 1e-5))
    back = operation.op("Reshape", [normed, operation.op("Shape", [operation.x])])
    weight, bias = (_on_channels(operation, _learned(operation, *each)) for each in ((2, "weight"), (3, "bias")))
    return _with(operation, back, weight, bias)


def _group_norm_rounded_once(
    operation: Operation, groups: int, epsilon: float, weight: np.ndarray | None, bias: np.ndarray | None
) -> Name:
    """groups: their number; 0 where each channel is one."""
    wide = Wide(operation.writer)
    x = wide.of(operation.sizes.reshaped(operation.x, [0, groups, -1]))
    count = wide.of(operation.op("Shape", [x], start=2))
    mean = wide.op("ReduceMean", x, axes=[2], keepdims=1)
    squares = wide.op("Div", wide.op("ReduceSumSquare", x, axes=[2], keepdims=1), count)
    variance = wide.op("Max", wide.op("Sub", squares, wide.op("Mul", mean, mean)), 0.0)
    deviation = wide.op("Sqrt", wide.op("Add", variance, float(epsilon)))
    channels = operation.size_known(1) if groups else 0
    factors = (
        (np.full(max(1, channels), default) if values is None else values.astype(np.float64))
        for values, default in ((weight, 1.0), (bias, 0.0))
    )
    by_group = (groups, -1) if groups else (-1, 1)
    weights, biases = (operation.writer.constant(values.reshape(by_group)) for values in factors)
    scale = wide.op("Div", weights, deviation)
    shift = wide.op("Sub", biases, wide.op("Mul", mean, scale))
    sizes = operation.writer.integers(0, channels, *[1] * (len(operation.before) - 2))
    scale, shift = (wide.rounded(wide.op("Reshape", values, sizes)) for values in (scale, shift))
    return operation.op("Add", [operation.op("Mul", [operation.x, scale]), shift])


@adds("instance_norm")
def instance_norm(operation: Operation) -> Name:
    """Over all places, channel by channel."""
    if operation.node.target is rounded_once.instance_norm:
        given = _learned(operation, 1, "weight"), _learned(operation, 2, "bias")
        return _group_norm_rounded_once(operation, 0, operation.argument(3, "eps", 1e-5), *given)
    if not operation.argument(5, "use_input_stats", True):
        return _by_what_was_learned(operation)
    normed = _normed(operation, operation.x, list(range(2, len(operation.before))), operation.argument(7, "eps", 1e-5))
    weight, bias = (_on_channels(operation, _learned(operation, *each)) for each in ((3, "weight"), (4, "bias")))
    return _with(operation, normed, weight, bias)


@adds("batch_norm")
def batch_norm(operation: Operation) -> Name:
    """By what was learned, or over the batch and all places."""
    weight, bias = (_on_channels(operation, _learned(operation, *each)) for each in ((3, "weight"), (4, "bias")))
    epsilon = operation.argument(7, "eps", 1e-5)
    if operation.argument(5, "training", False) or operation.constant_of(1, "running_mean") is None:
        axes = [0, *range(2, len(operation.before))]
        return _with(operation, _normed(operation, operation.x, axes, epsilon), weight, bias)
    return _by_what_was_learned(operation)


def _by_what_was_learned(operation: Operation) -> Name:
    weight, bias = (_on_channels(operation, _learned(operation, *each)) for each in ((3, "weight"), (4, "bias")))
    epsilon = operation.argument(7, "eps", 1e-5)
    mean, variance = operation.constant_of(1, "running_mean"), operation.constant_of(2, "running_var")
    assert isinstance(mean, Tensor) and isinstance(variance, Tensor)
    scale = (variance.detach().double() + epsilon).rsqrt()
    apart = operation.op("Sub", [operation.x, operation.writer.constant(_wide(operation, mean))])
    normed = operation.op("Mul", [apart, operation.writer.constant(_wide(operation, scale))])
    return _with(operation, normed, weight, bias)


def _wide(operation: Operation, values: Tensor) -> np.ndarray:
    found = _on_channels(operation, values.detach().float().numpy())
    assert found is not None
    return found
