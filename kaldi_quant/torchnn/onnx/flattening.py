"""A traced graph down to functions: torch's own modules are followed, too, so that only functions need an ONNX form."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError

from kaldi_quant.torchnn.calls import Call
from kaldi_quant.torchnn.in_place import without_in_place
from kaldi_quant.torchnn.region import Region, joined
from kaldi_quant.torchnn.simplify import simplify
from kaldi_quant.torchnn.tracing import compute, trace


def computed(graph: fx.Graph, root: nn.Module, inputs: list[Tensor]) -> dict[fx.Node, Any]:
    """What every node of a graph is for an input.

    Args:
        graph: of functions, layers, and modules that cannot be followed.
        root: has the modules and tensors that nodes name.
        inputs: one for each placeholder.
    """
    values: dict[fx.Node, Any] = {}
    rest = iter(inputs)
    with torch.no_grad():
        for node in graph.nodes:
            if node.op == "placeholder":
                values[node] = next(rest)
            elif node.op != "output":
                values[node] = compute(node, root, values.__getitem__)
    return values


def flattened(region: Region, inputs: list[Tensor]) -> tuple[fx.Graph, dict[fx.Node, str]]:
    """The graph of a region with the computation of torch's modules in their place.

    Args:
        region: its own graph is left as it is.
        inputs: of an example.

    Returns:
        The graph, and for its nodes the names of the quantizer's nodes.
    """
    values = computed(region.graph, region, inputs)
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    points: dict[fx.Node, str] = {}
    for node in region.graph.nodes:
        inner = _inner(region, node, values)
        if inner is None:
            copies[node] = graph.node_copy(node, copies.__getitem__)
        else:
            copies[node] = _inlined(graph, node, inner, copies)
        if node.name in region.program.points:
            points[copies[node]] = region.program.points[node.name]
    _erase_unread_moves(graph, points)
    return graph, points


def _erase_unread_moves(graph: fx.Graph, points: Container[fx.Node]) -> None:
    """Takes out moves and sizes that nothing reads, such as last states that a network has no use for."""
    for node in reversed(graph.nodes):
        if node.op in ("call_function", "call_method") and not node.users and node not in points:
            graph.erase_node(node)


def _inner(region: Region, node: fx.Node, values: dict[fx.Node, Any]) -> fx.Graph | None:
    """The graph of a module of torch that a node calls; None for all else, and where it cannot be followed."""
    if node.op != "call_module" or region.layer_of(node) is not None:
        return None
    module = region.get_submodule(str(node.target))
    if not type(module).__module__.startswith("torch.nn"):
        return None
    call = Call(fx.node.map_arg(node.args, values.__getitem__), fx.node.map_arg(node.kwargs, values.__getitem__))
    try:
        graph, reasons = trace(module, call)
        without_in_place(graph, module)
    except TraceError:
        return None
    simplify(graph)
    return None if reasons else graph


def _inlined(graph: fx.Graph, node: fx.Node, inner: fx.Graph, copies: dict[fx.Node, Any]) -> Any:
    """Copies a module's graph to where it is called; returns the copy of its output."""
    given = iter(_nodes_in(node))
    inside: dict[fx.Node, Any] = {}
    for each in inner.nodes:
        if each.op == "placeholder":
            inside[each] = copies[next(given)]
        elif each.op == "output":
            return inside[each.args[0]]
        else:
            inside[each] = graph.node_copy(each, inside.__getitem__)
            if each.op in ("get_attr", "call_module"):
                inside[each].target = joined(str(node.target), str(each.target))
    raise AssertionError("a graph has an output")


def _nodes_in(node: fx.Node) -> list[fx.Node]:
    """The tensors among the arguments of a call, in order."""
    found: list[fx.Node] = []
    fx.node.map_arg((node.args, node.kwargs), found.append)
    return found
