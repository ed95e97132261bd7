"""Functions of one value each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional

from kaldi_quant.torchnn.onnx_import.operator import Operator, adds, parameter

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Softplus": functional.softplus,
    "Softsign": functional.softsign,
    "HardSwish": functional.hardswish,
    "Mish": functional.mish,
    "Exp": torch.exp,
    "Log": torch.log,
    "Sqrt": torch.sqrt,
    "Abs": torch.abs,
    "Neg": torch.neg,
    "Sign": torch.sign,
    "Erf": torch.erf,
    "Sin": torch.sin,
    "Cos": torch.cos,
    "Floor": torch.floor,
    "Ceil": torch.ceil,
    "Reciprocal": torch.reciprocal,
}


@adds(*_FUNCTIONS)
def function(operator: Operator) -> fx.Node:
    """One that has no options."""
    return operator.call(_FUNCTIONS[operator.kind], operator.x)


@adds("LeakyRelu")
def leaky_relu(operator: Operator) -> fx.Node:
    """x, or a little of it."""
    return operator.call(functional.leaky_relu, operator.x, operator.attribute("alpha", 0.01))


@adds("Elu")
def elu(operator: Operator) -> fx.Node:
    """x, or alpha (exp(x) - 1)."""
    return operator.call(functional.elu, operator.x, operator.attribute("alpha", 1.0))


@adds("Celu")
def celu(operator: Operator) -> fx.Node:
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""
    return operator.call(functional.celu, operator.x, operator.attribute("alpha", 1.0))


@adds("Selu")
def selu(operator: Operator) -> fx.Node:
    """ELU with the constants of self-normalizing networks."""
    # The usual ones, which torch has too.
    for name, usual in (("alpha", 1.67326319217681884765625), ("gamma", 1.05070102214813232421875)):
        if not math.isclose(operator.attribute(name, usual), usual, rel_tol=1e-6):
            operator.refuse(f"has another {name} than self-normalizing networks")
    return operator.call(functional.selu, operator.x)


@adds("Gelu")
def gelu(operator: Operator) -> fx.Node:
    """x times the normal distribution's share below x."""
    return operator.call(functional.gelu, operator.x, approximate=operator.attribute("approximate", "none"))


@adds("PRelu")
def prelu(operator: Operator) -> fx.Node:
    """x, or a learned multiple of it."""
    if operator.is_constant(1):
        slope, rank = operator.constant(1, "slopes"), operator.rank()
        by_channel = slope.ndim == rank - 1 and slope.size == slope.shape[0]
        if slope.size == 1 or by_channel:
            return operator.module(lambda: _prelu(slope), [1], operator.x)
    negative = operator.call(torch.clamp, operator.x, max=0)
    return operator.call(torch.add, operator.call(torch.relu, operator.x), _times(operator, negative))


def _times(operator: Operator, x: fx.Node) -> fx.Node:
    return operator.call(torch.mul, x, operator.tensor(1))


def _prelu(slope: np.ndarray) -> nn.PReLU:
    found = nn.PReLU(slope.size)
    found.weight = parameter(slope.reshape(-1))
    return found


@adds("Clip")
def clip(operator: Operator) -> fx.Node:
    """Between two numbers."""
    bounds = {name: operator.operand(place) for place, name in ((1, "min"), (2, "max")) if operator.has(place)}
    if not bounds:
        return operator.x
    if any(isinstance(bound, fx.Node) for bound in bounds.values()):
        operator.refuse("has bounds that the network computes")
    return operator.call(torch.clamp, operator.x, **bounds)


@adds("HardSigmoid")
def hard_sigmoid(operator: Operator) -> fx.Node:
    """alpha x + beta, from 0 to 1."""
    alpha, beta = operator.attribute("alpha", 0.2), operator.attribute("beta", 0.5)
    if np.float32(alpha) == np.float32(1 / 6) and beta == 0.5:
        return operator.call(functional.hardsigmoid, operator.x)
    line = operator.call(torch.add, operator.call(torch.mul, operator.x, alpha), beta)
    return operator.call(torch.clamp, line, 0, 1)


_OF_AN_AXIS: dict[str, Callable[..., Any]] = {"Softmax": torch.softmax, "LogSoftmax": torch.log_softmax}


@adds(*_OF_AN_AXIS)
def softmax(operator: Operator) -> fx.Node:
    """Over an axis; before operator set 13 over all from it on."""
    compute = _OF_AN_AXIS[operator.kind]
    if operator.opset >= 13:
        return operator.call(compute, operator.x, operator.attribute("axis", -1))
    axis = operator.axis(operator.attribute("axis", 1), operator.rank())
    if axis == operator.rank() - 1:
        return operator.call(compute, operator.x, axis)
    flat = operator.method("flatten", operator.x, axis)
    return operator.method("view_as", operator.call(compute, flat, -1), operator.x)
