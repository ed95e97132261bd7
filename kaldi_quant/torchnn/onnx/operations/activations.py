"""Functions of each value by itself, or of values side by side: nonlinearities, in float."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import fx

from kaldi_quant.backends.onnx.writer import DOUBLE, FLOAT, Name
from kaldi_quant.torchnn import rounded_once
from kaldi_quant.torchnn.graph_nodes import name_of
from kaldi_quant.torchnn.onnx.operation import Emitter, Operation, adds
from kaldi_quant.torchnn.onnx.operations.slices import cut
from kaldi_quant.torchnn.onnx.sizes import END


def _plain(kind: str) -> Emitter:
    def add(operation: Operation) -> Name:
        if operation.node.target not in (rounded_once.sigmoid, rounded_once.tanh):
            return operation.op(kind, [operation.x])
        return _rounded_once(operation, kind)

    return add


def _rounded_once(operation: Operation, kind: str, x: Name | None = None, **attributes: Any) -> Name:
    """An operator in 64 bits, of the first operand unless another is given."""
    wide = operation.op("Cast", [x or operation.x], to=DOUBLE)
    return operation.op("Cast", [operation.op(kind, [wide], **attributes)], to=FLOAT)


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
        return _elu_rounded_once(operation, float(operation.argument(1, "alpha", 1.0)))
    if operation.argument(2, "scale", 1) != 1 or operation.argument(3, "input_scale", 1) not in (1, False):
        operation.refuse("has no ONNX form with a scale")
    return operation.op("Elu", [operation.x], alpha=float(operation.argument(1, "alpha", 1.0)))


def _elu_rounded_once(operation: Operation, alpha: float) -> Name:
    wide = operation.op("Cast", [operation.op("Min", [operation.x, 0.0])], to=DOUBLE)
    one, factor = (operation.writer.constant(np.float64(value)) for value in (1, alpha))
    below = operation.op("Sub", [operation.op("Exp", [wide]), one])
    if alpha != 1:
        below = operation.op("Mul", [below, factor])
    return operation.op("Add", [operation.op("Relu", [operation.x]), operation.op("Cast", [below], to=FLOAT)])


@adds("celu")
def celu(operation: Operation) -> Name:
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""
    return operation.op("Celu", [operation.x], alpha=float(operation.argument(1, "alpha", 1.0)))


@adds("selu")
def selu(operation: Operation) -> Name:
    """ELU with the constants of self-normalizing networks."""
    return operation.op("Selu", [operation.x], alpha=1.6732632423543772, gamma=1.0507009873554805)


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
    return operation.op("Mul", [operation.x, operation.op("Tanh", [operation.op("Softplus", [operation.x])])])


@adds("softplus")
def softplus(operation: Operation) -> Name:
    """log(1 + exp(beta x)) / beta."""
    beta = float(operation.argument(1, "beta", 1))
    scaled = operation.op("Mul", [operation.x, beta])
    found = operation.op("Div", [operation.op("Softplus", [scaled]), beta])
    # Beyond the threshold it is x itself.
    beyond = operation.op("Greater", [scaled, float(operation.argument(2, "threshold", 20))])
    return operation.op("Where", [beyond, operation.x, found])


@adds("logsigmoid", "log_sigmoid")
def logsigmoid(operation: Operation) -> Name:
    """-softplus(-x)."""
    return operation.op("Neg", [operation.op("Softplus", [operation.op("Neg", [operation.x])])])


@adds("gelu")
def gelu(operation: Operation) -> Name:
    """x times the normal distribution's share below x; or the approximation by a tanh."""
    x = operation.x
    if operation.argument(1, "approximate", "none") == "tanh":
        cube = operation.op("Mul", [operation.op("Mul", [x, x]), x])
        inner = operation.op("Add", [x, operation.op("Mul", [cube, 0.044715])])
        share = operation.op("Tanh", [operation.op("Mul", [inner, math.sqrt(2 / math.pi)])])
    else:
        share = operation.op("Erf", [operation.op("Mul", [x, math.sqrt(0.5)])])
    half = operation.op("Mul", [x, 0.5])
    return operation.op("Mul", [half, operation.op("Add", [share, 1.0])])


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
    return _rounded_once(operation, "Softmax", axis=axis)


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
    share = _rounded_once(operation, "Sigmoid", gate) if is_rounded_once else operation.op("Sigmoid", [gate])
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
