"""A graph without operations that change a value in place: each gives a new one, which all later nodes read instead."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError
from torch.nn import functional

from kaldi_quant.torchnn.calls import tensors_in
from kaldi_quant.torchnn.graph_nodes import is_constant

_OPERATORS: dict[Any, Callable] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    operator.ifloordiv: operator.floordiv,
    operator.imod: operator.mod,
    operator.ipow: operator.pow,
    operator.imatmul: operator.matmul,
}


def without_in_place(graph: fx.Graph, root: nn.Module) -> None:
    """Replaces all operations in place.

    Args:
        graph: as traced; each node's ``meta["value"]`` is what an example gives.
        root: has its modules; those of them that work in place do so no more.

    Raises:
        TraceError: another view of a value that is changed is read later, an operation exists in place alone, or the
            network's own tensors are changed.
    """
    modules: list[nn.Module] = []
    for node in list(graph.nodes):
        if _changes_its_input(node, root, modules):
            changed = node.args[0] if node.args else node.kwargs["input"]
            if is_constant(changed):
                raise TraceError(f"it keeps what {node.name} changes from one call to the next")
            _refuse_views(graph, changed, node)
            later = set(_after(graph, node))
            changed.replace_all_uses_with(node, delete_user_cb=lambda user, later=later: user in later)
    for module in modules:
        module.inplace = False  # type: ignore[assignment]


def _changes_its_input(node: fx.Node, root: nn.Module, modules: list[nn.Module]) -> bool:
    """Whether a node is an operation in place; it is none any more then, or its module is added to those given."""
    target: Any = node.target
    if node.kwargs.get("out") is not None:
        raise TraceError(f"{target} writes into another value")
    if not isinstance(node.meta.get("value"), Tensor):
        return False
    if node.op == "call_module":
        module = root.get_submodule(target)
        found = getattr(module, "inplace", False) is True
        if found:
            modules.append(module)
        return found
    if node.op == "call_method":
        return target.endswith("_") and not target.endswith("__") and _renamed(node, torch.Tensor)
    if node.op != "call_function":
        return False
    if target in _OPERATORS:
        node.target = _OPERATORS[target]
        # Numbers and sizes have these operators, too.
        return True
    if getattr(target, "__name__", "").endswith("_") and not target.__name__.endswith("__"):
        return _renamed(node, functional if hasattr(functional, target.__name__) else torch)
    return _option_taken_back(node)


def _renamed(node: fx.Node, home: Any) -> bool:
    """Takes the operation of the same name without an underscore."""
    target: Any = node.target
    name = (target if isinstance(target, str) else target.__name__).rstrip("_")
    if name in ("requires_grad", "detach"):
        return False
    if not hasattr(home, name):
        raise TraceError(f"{name}_ changes a value in place, and there is no {name}")
    node.target = name if isinstance(target, str) else getattr(home, name)
    return True


def _option_taken_back(node: fx.Node) -> bool:
    """Whether a function was told to work in place; it is told not to."""
    target: Any = node.target
    try:
        bound = inspect.signature(target).bind(*node.args, **node.kwargs)
    except (TypeError, ValueError):
        return False
    if bound.arguments.get("inplace") is not True:
        return False
    bound.arguments["inplace"] = False
    node.args, node.kwargs = bound.args, bound.kwargs
    return True


def _refuse_views(graph: fx.Graph, changed: fx.Node, at: fx.Node) -> None:
    """Refuses a change that nodes see which do not read what is changed.

    Raises:
        TraceError: there are such nodes.
    """
    later = set(_after(graph, at))
    for other in graph.nodes:
        if other is at:
            return
        if other is not changed and later.intersection(other.users) and _overlap(changed, other):
            raise TraceError(f"{other.name} is read after {at.name} has changed it in place")


def _overlap(one: fx.Node, other: fx.Node) -> bool:
    """Whether two nodes' values share elements."""
    return any(
        _share_elements(x, y)
        for x in tensors_in(one.meta.get("value"))
        for y in tensors_in(other.meta.get("value"))
        if x.untyped_storage().data_ptr() == y.untyped_storage().data_ptr()
    )


def _share_elements(x: Tensor, y: Tensor) -> bool:
    """Whether two tensors of one memory do."""
    if x.dtype != y.dtype:
        return True
    elements = torch.zeros(x.untyped_storage().nbytes() // x.element_size(), dtype=torch.bool)
    elements.as_strided(x.size(), x.stride(), x.storage_offset()).fill_(True)
    return bool(elements.as_strided(y.size(), y.stride(), y.storage_offset()).any())


def _after(graph: fx.Graph, node: fx.Node) -> list[fx.Node]:
    nodes = list(graph.nodes)
    return nodes[nodes.index(node) + 1 :]
