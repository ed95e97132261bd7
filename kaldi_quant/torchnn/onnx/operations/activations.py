"""Functions of each value by itself, or of values side by side: nonlinearities, in float."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import fx

from kaldi_quant.backends.onnx.writer import DOUBLE, FLOAT, Name
from kaldi_quant.torchnn import rounded_once
from kaldi_quant.torchnn.graph_nodes import name_of
from kaldi_quant.torchnn.onnx.operation import Emitter, Operation, adds
from kaldi_quant.torchnn.onnx.operations.slices import cut
from kaldi_quant.torchnn.onnx.sizes import END
from kaldi_quant.torchnn.onnx.wide import Wide
from kaldi_quant.torchnn.rounded_once import GELU_ROOT, MISH_ALL, SELU_BELOW, SELU_SCALE


def _plain(kind: str) -> Emitter:
    def add(operation: Operation) -> Name:
        if operation.node.target not in (rounded_once.sigmoid, rounded_once.tanh):
            return operation.op(kind, [operation.x])
        return Wide(operation.writer).function(kind, operation.x)

    return add


_PLAIN = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softsign": "Softsign",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "abs": "Abs",
    "neg": "Neg",
    "sin": "Sin",
    "cos": "Cos",
    "erf": "Erf",
    "floor": "Floor",
    "ceil": "Ceil",
    "round": "Round",
    "sign": "Sign",
    "reciprocal": "Reciprocal",
}
for _function, _kind in _PLAIN.items():
    adds(_function)(_plain(_kind))


@adds("leaky_relu")
def leaky_relu(operation: Operation) -> Name:
    """x, or a little of it."""
    return operation.op("LeakyRelu", [operation.x], alpha=float(operation.argument(1, "negative_slope", 0.01)))


@adds("elu")
def elu(operation: Operation) -> Name:
    """x, or alpha (exp(x) - 1)."""
    if operation.node.target is rounded_once.elu:
        below = _below(operation, float(operation.argument(1, "alpha", 1.0)))
        return operation.op("Add", [operation.op("Relu", [operation.x]), below])
    if operation.argument(2, "scale", 1) != 1 or operation.argument(3, "input_scale", 1) not in (1, False):
        operation.refuse("has no ONNX form with a scale")
    return operation.op("Elu", [operation.x], alpha=float(operation.argument(1, "alpha", 1.0)))


@adds("celu")
def celu(operation: Operation) -> Name:
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""
    alpha = float(operation.argument(1, "alpha", 1.0))
    if operation.node.target is rounded_once.celu:
        return operation.op("Add", [operation.op("Relu", [operation.x]), _below(operation, alpha, alpha)])
    return operation.op("Celu", [operation.x], alpha=alpha)


@adds("selu")
def selu(operation: Operation) -> Name:
    """ELU with the constants of self-normalizing networks."""
    if operation.node.target is rounded_once.selu:
        wide = Wide(operation.writer)
        x = wide.of(operation.x)
        below = wide.op("Sub", wide.op("Exp", wide.op("Min", x, 0.0)), 1.0)
        both = wide.op("Mul", wide.op("Relu", x), SELU_SCALE), wide.op("Mul", below, SELU_BELOW)
        return wide.rounded(wide.op("Add", *both))
    return operation.op("Selu", [operation.x], alpha=SELU_BELOW / SELU_SCALE, gamma=SELU_SCALE)


def _below(operation: Operation, factor: float, divisor: float = 1.0) -> Name:
    """factor (exp(x / divisor) - 1) where x is negative, else 0; rounded once."""
    wide = Wide(operation.writer)
    x = wide.of(operation.op("Min", [operation.x, 0.0]))
    found = wide.op("Sub", wide.op("Exp", x if divisor == 1 else wide.op("Div", x, divisor)), 1.0)
    return wide.rounded(found if factor == 1 else wide.op("Mul", found, factor))


@adds("prelu")
def prelu(operation: Operation) -> Name:
    """x, or a learned multiple of it, by channel on axis 1."""
    slope = operation.constant_of(1, "weight")
    if slope is None:
        operation.refuse("has an ONNX form with a learned slope alone")
    values = slope.detach().float().numpy()
    if values.size == 1:
        return operation.op("LeakyRelu", [operation.x], alpha=float(values.item()))
    # onnxruntime's PRelu takes ten times as long.
    by_channel = values.reshape(-1, *[1] * max(0, len(operation.before) - 2))
    below = operation.op("Mul", [operation.op("Min", [operation.x, 0.0]), operation.writer.constant(by_channel)])
    return operation.op("Add", [operation.op("Relu", [operation.x]), below])


@adds("silu")
def silu(operation: Operation) -> Name:
    """x sigmoid(x)."""
    return _gated(operation, operation.x, operation.x)


@adds("mish")
def mish(operation: Operation) -> Name:
    """x tanh(softplus(x))."""
    if operation.node.target is rounded_once.mish:
        wide = Wide(operation.writer)
        e = wide.op("Exp", wide.op("Min", wide.of(operation.x), MISH_ALL))
        e = wide.op("Mul", e, wide.op("Add", e, 2.0))
        return operation.op("Mul", [operation.x, wide.rounded(wide.op("Div", e, wide.op("Add", e, 2.0)))])
    return operation.op("Mul", [operation.x, operation.op("Tanh", [operation.op("Softplus", [operation.x])])])


@adds("softplus")
def softplus(operation: Operation) -> Name:
    """log(1 + exp(beta x)) / beta."""
    beta = float(operation.argument(1, "beta", 1))
    threshold = float(operation.argument(2, "threshold", 20))
    if operation.node.target is rounded_once.softplus:
        return _softplus_rounded_once(operation, beta, threshold)
    scaled = operation.op("Mul", [operation.x, beta])
    found = operation.op("Div", [operation.op("Softplus", [scaled]), beta])
    # Beyond the threshold it is x itself.
    beyond = operation.op("Greater", [scaled, threshold])
    return operation.op("Where", [beyond, operation.x, found])


def _softplus_rounded_once(operation: Operation, beta: float, threshold: float) -> Name:
    wide = Wide(operation.writer)
    x = wide.op("Mul", wide.of(operation.x), beta)
    below = wide.op("Exp", wide.op("Neg", wide.op("Abs", x)))
    found = wide.op("Add", wide.op("Relu", x), wide.op("Log", wide.op("Add", below, 1.0)))
    beyond = wide.op("Greater", x, threshold)
    return operation.op("Where", [beyond, operation.x, wide.rounded(wide.op("Div", found, beta))])


@adds("logsigmoid", "log_sigmoid")
def logsigmoid(operation: Operation) -> Name:
    """-softplus(-x)."""
    return operation.op("Neg", [operation.op("Softplus", [operation.op("Neg", [operation.x])])])


@adds("gelu")
def gelu(operation: Operation) -> Name:
    """x times the normal distribution's share below x; or the approximation by a tanh."""
    if operation.argument(1, "approximate", "none") == "tanh":
        return _gelu_by_tanh(operation)
    share = operation.op("Erf", [operation.op("Mul", [operation.x, math.sqrt(0.5)])])
    half = operation.op("Mul", [operation.x, 0.5])
    return operation.op("Mul", [half, operation.op("Add", [share, 1.0])])


def _gelu_by_tanh(operation: Operation) -> Name:
    if operation.node.target is rounded_once.gelu:
        wide = Wide(operation.writer)
        return wide.rounded(_times_share(wide.op, wide.of(operation.x)))
    return _times_share(lambda kind, *operands: operation.op(kind, operands), operation.x)


def _times_share(op: Callable[..., Name], x: Name) -> Name:
    """What GELU is by a tanh, of operators called with their kind and operands."""
    cube = op("Mul", op("Mul", x, x), x)
    share = op("Tanh", op("Mul", op("Add", x, op("Mul", cube, 0.044715)), GELU_ROOT))
    return op("Mul", op("Mul", x, 0.5), op("Add", share, 1.0))


@adds("hardtanh", "relu6", "clamp", "clip", "clamp_min", "clamp_max")
def clamp(operation: Operation) -> Name:
    """Between two numbers."""
    low, high = {
        "hardtanh": (operation.argument(1, "min_val", -1.0), operation.argument(2, "max_val", 1.0)),
        "relu6": (0.0, 6.0),
        "clamp_min": (operation.argument(1, "min"), None),
        "clamp_max": (None, operation.argument(1, "max")),
    }.get(operation.name, (operation.argument(1, "min"), operation.argument(2, "max")))
    return operation.op("Clip", [operation.x, low, high])


@adds("hardsigmoid")
def hardsigmoid(operation: Operation) -> Name:
    """clamp(x + 3, 0, 6) / 6."""
    return operation.op("Div", [_up_to_six(operation), 6.0])


@adds("hardswish")
def hardswish(operation: Operation) -> Name:
    """x clamp(x + 3, 0, 6) / 6."""
    return operation.op("Div", [operation.op("Mul", [operation.x, _up_to_six(operation)]), 6.0])


def _up_to_six(operation: Operation) -> Name:
    return operation.op("Clip", [operation.op("Add", [operation.x, 3.0]), 0.0, 6.0])


@adds("softmax", "log_softmax")
def softmax(operation: Operation) -> Name:
    """Over an axis."""
    if operation.argument(1, "dim") is None:
        operation.refuse("has no ONNX form without an axis")
    axis = operation.axis(1, "dim")
    if operation.node.target is rounded_once.softmax:
        return softmax_rounded_once(operation, axis)
    kind = "Softmax" if operation.name == "softmax" else "LogSoftmax"
    return operation.op(kind, [operation.x], axis=axis)


def softmax_rounded_once(operation: Operation, axis: int) -> Name:
    """That of the first operand, over an axis."""
    return Wide(operation.writer).function("Softmax", operation.x, axis=axis)


@adds("glu")
def glu(operation: Operation) -> Name:
    """The first half of an axis times the sigmoid of the second."""
    axis = operation.axis(1, "dim", -1)
    half = operation.size_known(axis) // 2
    value, gate = cut(operation, operation.x, axis, 0, half), cut(operation, operation.x, axis, half, END)
    return _gated(operation, value, gate)


def _gated(operation: Operation, value: Name, gate: Name) -> Name:
    """A value times the sigmoid of another."""
    is_rounded_once = operation.node.target in (rounded_once.silu, rounded_once.glu)
    share = Wide(operation.writer).function("Sigmoid", gate) if is_rounded_once else operation.op("Sigmoid", [gate])
    return operation.op("Mul", [value, share])


@adds("to", "float", "double", "type", "type_as")
def to(operation: Operation) -> Name:
    """Floats of another kind of number. All are computed with 32 bits, but for single functions between two changes."""
    if not operation.example.is_floating_point():
        operation.refuse("has no ONNX form to integers")
    is_double = operation.example.dtype == torch.float64 and _reads_one_function(operation.node)
    return operation.op("Cast", [operation.x], to=DOUBLE if is_double else FLOAT)


def _reads_one_function(node: fx.Node) -> bool:
    """Whether all that reads a node is a function of each value by itself, whose result changes its type at once."""
    return all(
        name_of(user) in _PLAIN and user.users and all(name_of(last) in ("to", "float") for last in user.users)
        for user in node.users
    )


@adds("zeros_like", "ones_like")
def filled_like(operation: Operation) -> Name:
    """A number of the shape of another tensor."""
    value = operation.writer.constant(np.float32(operation.name == "ones_like"))
    return operation.op("Expand", [value, operation.op("Shape", [operation.x])])


@adds("new_zeros", "new_ones")
def new_filled(operation: Operation) -> Name:
    """A number of sizes that a network names."""
    given = operation.argument(1, "size")
    sizes = given if isinstance(given, list | tuple) else operation.args[1:]
    value = operation.writer.constant(np.float32(operation.name == "new_ones"))
    return operation.op("Expand", [value, operation.sizes.vector(list(sizes))])
