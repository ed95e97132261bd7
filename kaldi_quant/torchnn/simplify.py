"""One form of ReLUs, sums and matrix products in a traced graph, nothing that does nothing in test mode, and no layer
that nothing reads.

Functions that ``rounded_once`` has are computed by that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from kaldi_quant.torchnn import rounded_once
from kaldi_quant.torchnn.forms import FORMS
from kaldi_quant.torchnn.graph_nodes import argument, holds_tensors, inputs_of, is_constant, name_of
from kaldi_quant.torchnn.rounded_once import elu, group_norm, instance_norm, layer_norm, softmax

# Functions of floats by name, with what their arguments are behind the first.
_OF_FLOATS: dict[str, dict[str, Any]] = {
    "sigmoid": {},
    "silu": {},
    "tanh": {},
    "mish": {},
    "selu": {},
    "celu": {"alpha": 1.0},
    "softplus": {"beta": 1.0, "threshold": 20.0},
    "gelu": {"approximate": "none"},
    "glu": {"dim": -1},
}
# What normalizations have behind their first two arguments.
_LEARNED = {"weight": None, "bias": None, "eps": 1e-5}


def added(*terms: Tensor, coefficients: Sequence[float]) -> Tensor:
    """The sum of tensors, each multiplied by its coefficient."""
    multiplied = [x if factor == 1 else x * factor for x, factor in zip(terms, coefficients, strict=True)]
    total = multiplied[0]
    for term in multiplied[1:]:
        total = total + term
    return total


def is_relu(node: fx.Node) -> bool:
    """Whether a node is a ReLU in the one form that ``simplify`` leaves."""
    return node.op == "call_function" and node.target is torch.relu


def is_matmul(node: fx.Node) -> bool:
    """Whether a node is a product of two values that depend on the input, in the one form that ``simplify`` leaves."""
    return node.op == "call_function" and node.target is torch.matmul and _multiplies_values(node)


def is_elementwise_product(node: fx.Node) -> bool:
    """Whether a node multiplies two values that depend on the input, in the one form that ``simplify`` leaves."""
    return node.op == "call_function" and node.target is torch.mul and len(node.args) == 2


def simplify(graph: fx.Graph) -> None:
    """Leaves one form of ReLUs, sums and products of two values, and nothing that does nothing in test mode."""
    for node in list(graph.nodes):
        if _does_nothing(node):
            node.replace_all_uses_with(next(inputs_of(node)))
            graph.erase_node(node)
        elif _rectifies(node):
            node.op, node.target, node.args, node.kwargs = "call_function", torch.relu, (node.args[0],), {}
        elif name_of(node) in ("matmul", "__matmul__", "bmm", "mm") and _multiplies_values(node):
            node.op, node.target, node.args, node.kwargs = "call_function", torch.matmul, _factors(node), {}
        elif name_of(node) in ("mul", "__mul__", "multiply") and _multiplies_elements(node):
            node.op, node.target, node.args, node.kwargs = "call_function", torch.mul, _factors(node), {}
        elif _is_elu(node):
            node.target, node.args, node.kwargs = elu, (node.args[0], float(argument(node, 1, "alpha", 1.0))), {}
        elif node.target in (functional.group_norm, torch.group_norm):
            _compute_by(node, group_norm, {"input": None, "num_groups": None, **_LEARNED})
        elif node.target in (functional.layer_norm, torch.layer_norm):
            _compute_by(node, layer_norm, {"input": None, "normalized_shape": None, **_LEARNED})
        elif _normalizes_instances(node):
            learned = argument(node, 3, "weight"), argument(node, 4, "bias"), argument(node, 7, "eps", 1e-5)
            node.target, node.args, node.kwargs = instance_norm, (next(inputs_of(node)), *learned), {}
        elif name_of(node) in _OF_FLOATS and _is_of_floats(node):
            function = getattr(rounded_once, name_of(node))
            _compute_by(node, function, {"input": None, **_OF_FLOATS[name_of(node)]})
        elif _is_softmax(node):
            _compute_by(node, softmax, {"input": None, "dim": None})
        elif terms := _terms(node):
            node.op, node.target = "call_function", added
            node.args = tuple(term for term, _ in terms)
            node.kwargs = {"coefficients": tuple(factor for _, factor in terms)}
    for node in reversed(list(graph.nodes)):
        # Multiples that sums have taken up, and layers that no output depends on, with their weights.
        if not node.users and (_multiple(node) or node.op == "get_attr" or _is_layer(node)):
            graph.erase_node(node)


def _does_nothing(node: fx.Node) -> bool:
    if node.op != "call_function" or not isinstance(node.meta.get("value"), Tensor):
        return False
    if "dropout" in name_of(node):
        return argument(node, 2, "training", argument(node, 2, "train", True)) is False
    if name_of(node) != "add" or len(node.args) != 2 or node.kwargs:
        return False
    # The beginning of Python's own sum.
    zeros = [operand for operand in node.args if not isinstance(operand, fx.Node) and operand == 0]
    others = [operand for operand in node.args if isinstance(operand, fx.Node)]
    return len(zeros) == len(others) == 1 and _dtype_of(others[0]) == node.meta["value"].dtype


def _dtype_of(node: fx.Node) -> torch.dtype | None:
    value = node.meta.get("value")
    return value.dtype if isinstance(value, Tensor) else None


def _rectifies(node: fx.Node) -> bool:
    if node.op not in ("call_function", "call_method") or not holds_tensors(node):
        return False
    name = name_of(node)
    if name == "relu":
        return True
    least = name in ("clamp", "clip") and argument(node, 1, "min") == 0 and argument(node, 2, "max") is None
    return least or (name == "clamp_min" and argument(node, 1, "min") == 0)


def _is_elu(node: fx.Node) -> bool:
    """Whether a node is an ELU without scales."""
    scales = (argument(node, place, name, 1) for place, name in ((2, "scale"), (3, "input_scale")))
    return node.target is functional.elu and len(node.args) > 0 and all(scale in (False, 1) for scale in scales)


def _is_layer(node: fx.Node) -> bool:
    return node.op == "call_function" and name_of(node) in FORMS


def _compute_by(node: fx.Node, function: Callable[..., Any], names: Mapping[str, Any]) -> None:
    """Puts another function in a call's place; ``names`` has its arguments in their order, each with its default."""
    args = tuple(argument(node, place, name, default) for place, (name, default) in enumerate(names.items()))
    node.op, node.target, node.args, node.kwargs = "call_function", function, args, {}


def _is_softmax(node: fx.Node) -> bool:
    """Whether a node is a softmax over a known axis."""
    return name_of(node) == "softmax" and _is_of_floats(node) and isinstance(argument(node, 1, "dim"), int)


def _normalizes_instances(node: fx.Node) -> bool:
    """Whether a node normalizes channels of batches by their own moments: a group is a channel then."""
    return node.target is functional.instance_norm and argument(node, 5, "use_input_stats", True) is True


def _is_of_floats(node: fx.Node) -> bool:
    """Whether a function makes 32-bit floats of such."""
    if node.op not in ("call_function", "call_method"):
        return False
    return all(_dtype_of(value) is torch.float32 for value in (node, *inputs_of(node)))


def _multiplies_values(node: fx.Node) -> bool:
    """Whether a node that multiplies matrices has two factors of floats that depend on the input."""
    factors = _factors(node)
    values = [factor.meta.get("value") for factor in factors if isinstance(factor, fx.Node) and not is_constant(factor)]
    return len(values) == 2 and all(isinstance(x, Tensor) and x.is_floating_point() and x.dim() > 1 for x in values)


def _multiplies_elements(node: fx.Node) -> bool:
    """Whether a node multiplies, element by element, two tensors of floats that depend on the input."""
    factors = [factor for factor in _factors(node) if isinstance(factor, fx.Node) and not is_constant(factor)]
    values = [factor.meta.get("value") for factor in factors]
    return len(values) == 2 and all(isinstance(x, Tensor) and x.is_floating_point() for x in values)


def _factors(node: fx.Node) -> tuple[Any, Any]:
    return argument(node, 0, "input"), argument(node, 1, "other", node.kwargs.get("mat2"))


def _terms(node: fx.Node) -> list[tuple[fx.Node, float]]:
    """What a node adds, and by what that is multiplied; nothing for other nodes, and for sums that broadcast."""
    if node.op not in ("call_function", "call_method") or name_of(node) not in ("add", "sub", "subtract"):
        return []
    one, other, factor = node.args[0], argument(node, 1, "other"), argument(node, 2, "alpha", 1)
    if not isinstance(one, fx.Node) or not isinstance(other, fx.Node) or not isinstance(factor, int | float):
        return []
    values = [x for operand in (one, other, node) if isinstance(x := operand.meta.get("value"), Tensor)]
    if len(values) < 3 or not all(x.is_floating_point() for x in values):
        return []
    if len({x.shape for x in values}) > 1 or is_constant(one) or is_constant(other):
        return []
    sign = 1 if name_of(node) == "add" else -1
    return [_without_factor(one, 1.0), _without_factor(other, float(sign * factor))]


def _without_factor(node: fx.Node, factor: float) -> tuple[fx.Node, float]:
    """What a node is a multiple of, and the factor."""
    found = _multiple(node)
    return _without_factor(found[0], found[1] * factor) if found else (node, factor)


def _multiple(node: fx.Node) -> tuple[fx.Node, float] | None:
    """For a node that is a tensor times a number these two."""
    if node.op not in ("call_function", "call_method") or not isinstance(node.meta.get("value"), Tensor):
        return None
    name, operands = name_of(node), node.args
    if name == "neg" and len(operands) == 1 and isinstance(operands[0], fx.Node):
        return operands[0], -1.0
    if name not in ("mul", "multiply", "truediv", "div") or len(operands) != 2 or node.kwargs:
        return None
    numbers = [x for x in operands if isinstance(x, int | float) and math.isfinite(x) and x != 0]
    tensors = [x for x in operands if isinstance(x, fx.Node) and isinstance(x.meta.get("value"), Tensor)]
    if len(numbers) != 1 or len(tensors) != 1 or not tensors[0].meta["value"].is_floating_point():
        return None
    if name in ("truediv", "div"):
        return (tensors[0], 1.0 / numbers[0]) if operands[1] is numbers[0] else None
    return tensors[0], float(numbers[0])
