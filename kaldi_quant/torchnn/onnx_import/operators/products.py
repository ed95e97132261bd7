"""Matrix products: with a constant they are fully connected layers."""

from __future__ import annotations

import numpy as np
import torch
from torch import fx, nn

from kaldi_quant.torchnn.onnx_import.operator import Operator, adds, parameter


@adds("MatMul")
def matmul(operator: Operator) -> fx.Node:
    """Of two values, or a layer over the last axis, with a bias that is added behind it."""
    if operator.is_constant(1) and not operator.is_constant(0):
        weight = operator.constant(1, "a weight")
        if weight.ndim == 2:
            name, bias = added_behind(operator, weight.shape[1], 0)
            return taken_up(operator, operator.module(lambda: _linear(weight.T, bias), [1, name], operator.x), name)
    if operator.is_constant(0) and operator.constant(0, "a weight").ndim == 2 and operator.rank(1) >= 2:
        # W X = (X' W')'
        weight, x = operator.constant(0, "a weight"), operator.method("transpose", operator.tensor(1), -1, -2)
        return operator.method("transpose", operator.module(lambda: _linear(weight, None), [0], x), -1, -2)
    return operator.call(torch.matmul, operator.x, operator.tensor(1))


@adds("Gemm")
def gemm(operator: Operator) -> fx.Node:
    """alpha A B + beta C, either matrix transposed."""
    alpha, beta = operator.attribute("alpha", 1.0), operator.attribute("beta", 1.0)
    x = operator.method("t", operator.x) if operator.attribute("transA", 0) else operator.x
    transposed = operator.attribute("transB", 0)
    if not operator.is_constant(1):
        other = operator.tensor(1)
        return _with_addend(operator, _matmul(operator, x, other, transposed, alpha), beta)
    weight = operator.constant(1, "a weight")
    weight = (weight if transposed else weight.T) * np.asarray(alpha, weight.dtype)
    bias = None
    if operator.is_constant(2):
        addend = operator.constant(2, "a bias")
        if addend.size in (1, len(weight)) and addend.shape[-1:] in ((), (1,), (len(weight),)):
            bias = np.broadcast_to(addend.reshape(-1) * np.asarray(beta, addend.dtype), (len(weight),))
    found = operator.module(lambda: _linear(weight, bias), [1, 2], x)
    return found if bias is not None else _with_addend(operator, found, beta)


def _matmul(operator: Operator, x: fx.Node, other: fx.Node, transposed: bool, alpha: float) -> fx.Node:
    found = operator.call(torch.matmul, x, operator.method("t", other) if transposed else other)
    return found if alpha == 1 else operator.call(torch.mul, found, alpha)


def _with_addend(operator: Operator, x: fx.Node, beta: float) -> fx.Node:
    if not operator.has(2):
        return x
    addend = operator.tensor(2)
    return operator.call(torch.add, x, addend if beta == 1 else operator.call(torch.mul, addend, beta))


def _linear(weight: np.ndarray, bias: np.ndarray | None) -> nn.Linear:
    found = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    found.weight = parameter(weight)
    if bias is not None:
        found.bias = parameter(bias)
    return found


def added_behind(operator: Operator, channels: int, axes_behind: int) -> tuple[str, np.ndarray | None]:
    """The bias that the one reader of a product adds to it, by name and as (channels,); empty where there is none such.

    Args:
        operator: the product.
        channels: of its output.
        axes_behind: how many axes come behind that of channels.
    """
    building, output = operator.building, operator.node.output[0]
    reader = building.only_reader(output)
    if reader is None or reader.op_type != "Add" or reader.domain not in ("", "ai.onnx"):
        return "", None
    others = [name for name in reader.input if name != output]
    found = building.constant_of(others[0]) if len(others) == 1 else None
    if found is None or found.size != channels or found.ndim <= axes_behind:
        return "", None
    sizes = building.shapes.get(output)
    is_vector = found.shape[found.ndim - 1 - axes_behind] == found.size
    if not is_vector or (found.ndim > 1 + axes_behind and (sizes is None or found.ndim > len(sizes))):
        return "", None
    return others[0], found.reshape(-1)


def taken_up(operator: Operator, found: fx.Node, name: str) -> fx.Node:
    """The product; with the bias of that name from ``added_behind`` it is the result of the addition, too."""
    if name:
        reader = operator.building.only_reader(operator.node.output[0])
        assert reader is not None
        operator.building.values[reader.output[0]] = found
    return found
