"""The nodes of a traced graph as JSON and back."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import fx

from kaldi_quant.errors import ModelError
from kaldi_quant.formats.torch_graph.functions import ATTRIBUTES, functions, methods, name_of_function
from kaldi_quant.formats.torch_graph.values import decoded, encoded


def encoded_graph(graph: fx.Graph) -> list[list[Any]]:
    """Of each node its name, what it does, what it names and its arguments.

    Raises:
        ModelError: a node calls what no file may name, or has an argument that no file can hold.
    """
    return [_encoded_node(node) for node in written_nodes(graph)]


def written_nodes(graph: fx.Graph) -> list[fx.Node]:
    """The nodes without constants that nothing reads, such as those of normalizations that became part of layers."""
    return [node for node in graph.nodes if node.op != "get_attr" or node.users]


def _encoded_node(node: fx.Node) -> list[Any]:
    target: Any = node.target
    if node.op == "call_function":
        target = name_of_function(node.target)
        if target is None or (target == "getattr" and node.args[1] not in ATTRIBUTES):
            what = getattr(node.target, "__name__", str(node.target))
            raise ModelError(f"the node {node.name} calls {what}, which is no function of torch on tensors")
    elif node.op == "call_method" and target not in methods():
        raise ModelError(f"the node {node.name} calls the method {target}, which is none of a tensor's computations")
    try:
        return [node.name, node.op, target, encoded(tuple(node.args))["tuple"], encoded(dict(node.kwargs))["dict"]]
    except ModelError as error:
        raise ModelError(f"an argument of the node {node.name} cannot be written: {error}") from error


def decoded_graph(described: Any, modules: Collection[str], tensors: Collection[str]) -> fx.Graph:
    """The graph that JSON describes.

    Args:
        described: from ``encoded_graph``.
        modules: that nodes may call, by path.
        tensors: that nodes may name, by path.

    Raises:
        ValueError: it describes none.
    """
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}
    for entry in described:
        if not isinstance(entry, list) or len(entry) != 5 or not all(isinstance(part, str) for part in entry[:3]):
            raise ValueError(f"{str(entry)[:60]!r} is no node")
        name, op, target, args, kwargs = entry
        values = decoded({"tuple": args}, nodes), decoded({"dict": kwargs}, nodes)
        if not all(isinstance(key, str) for key in values[1]):
            raise ValueError(f"the node {name[:60]!r} has an argument without a name")
        nodes[name] = graph.create_node(op, _target(op, target, values[0], modules, tensors), *values, name=name)
        if nodes[name].name != name:
            raise ValueError(f"{name[:60]!r} is no name of a node, or two have it")
    if nodes and nodes[name].op == "output" and (len(nodes[name].args) != 1 or nodes[name].kwargs):
        raise ValueError("the output should be one value")
    if not nodes or nodes[name].op != "output" or any(node.op == "output" for node in list(nodes.values())[:-1]):
        raise ValueError("the last node, and no other, should be the output")
    return graph


def _target(op: str, target: str, args: tuple, modules: Collection[str], tensors: Collection[str]) -> Any:
    known: dict[str, Collection[str]] = {
        "placeholder": (target,),
        "output": ("output",),
        "call_method": methods(),
        "call_module": modules,
        "get_attr": tensors,
        "call_function": functions(),
    }
    if op not in known or target not in known[op]:
        raise ValueError(f"there is nothing like {op[:20]} {target[:60]!r}")
    if target == "getattr" and (len(args) != 2 or args[1] not in ATTRIBUTES):
        raise ValueError(f"a graph cannot ask for {str(args)[:60]!r}")
    return functions()[target] if op == "call_function" else target
