"""Small questions about the nodes of a traced graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, fx


def name_of(node: fx.Node) -> str:
    """The name of a node's function or method."""
    if node.op == "call_function" and node.target is getattr:
        return str(node.args[1])
    return str(node.target) if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def argument(node: fx.Node, place: int, name: str, default: Any = None) -> Any:
    """An argument of a node, the first being the tensor, by place or by name."""
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def inputs_of(node: fx.Node) -> Iterator[fx.Node]:
    """The nodes that hold tensors among those that a node reads, as often as it names them."""
    found: list[fx.Node] = []
    fx.node.map_arg((node.args, node.kwargs), found.append)
    return (other for other in found if holds_tensors(other))


def readers_of(node: fx.Node) -> list[fx.Node]:
    """The nodes that read a node's values; not those that only ask for its sizes."""
    return [user for user in node.users if user.op == "output" or holds_tensors(user)]


def holds_tensors(node: fx.Node) -> bool:
    """Whether a node's value is a tensor, or several."""
    value = node.meta.get("value")
    return isinstance(value, Tensor) or (
        isinstance(value, list | tuple) and any(isinstance(one, Tensor) for one in value)
    )


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Of the tensor that a node is in the example."""
    return tuple(node.meta["value"].shape)


def is_constant(node: fx.Node) -> bool:
    """Whether a node depends on nothing but the network's own tensors."""
    if node.op == "get_attr":
        return True
    if node.op not in ("call_function", "call_method") or "rand" in name_of(node) or "dropout" in name_of(node):
        return False
    read = list(node.all_input_nodes)
    return bool(read) and all(is_constant(other) for other in read)
