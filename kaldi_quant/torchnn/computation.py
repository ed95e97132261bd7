"""What a node of a traced graph computes, from the values of others and from what the network has."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import fx, nn


def compute(node: fx.Node, root: nn.Module, value_of: Callable[[fx.Node], Any]) -> Any:
    """What a node of a graph gives.

    Args:
        node: neither an input nor the output.
        root: has the modules and tensors that nodes name.
        value_of: of the nodes that it reads.
    """
    return computation(node, root, value_of)()


def computation(node: fx.Node, root: nn.Module, value_of: Callable[[fx.Node], Any]) -> Callable[[], Any]:
    """How a node of a graph is computed from the values that others have now; arguments as of ``compute``."""
    if node.op == "get_attr":
        return partial(attribute, root, str(node.target))
    args = fx.node.map_arg(node.args, value_of)
    kwargs = fx.node.map_arg(node.kwargs, value_of)
    if node.op == "call_module":
        return partial(root.get_submodule(str(node.target)), *args, **kwargs)
    if node.op == "call_method":
        return partial(getattr(args[0], str(node.target)), *args[1:], **kwargs)
    function: Any = node.target
    return partial(function, *args, **kwargs)


def constant(node: fx.Node, root: nn.Module) -> Any:
    """What a node gives that depends on nothing but the network's own tensors."""
    return compute(node, root, lambda other: constant(other, root))


def attribute(root: nn.Module, path: str) -> Any:
    """What lies at a path within a module."""
    return operator.attrgetter(path)(root)
