"""A traced graph down to functions: torch's own modules are followed, too, so that only functions need an ONNX form.

So are modules that decide by the sizes of what they are given, such as a loop over times: they are unrolled, if the
axes that have any length in the file make no difference to what they decide.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError

from kaldi_quant.torchnn.calls import Call
from kaldi_quant.torchnn.in_place import without_in_place
from kaldi_quant.torchnn.onnx.axes import FreeAxisError, computed
from kaldi_quant.torchnn.region import Region, joined, regions_within
from kaldi_quant.torchnn.simplify import simplify
from kaldi_quant.torchnn.tracing import trace


def flattened(region: Region, inputs: Sequence[list[Tensor]]) -> tuple[fx.Graph, dict[fx.Node, str]]:
    """The graph of a region with the computation of modules in their place.

    Args:
        region: its own graph is left as it is.
        inputs: of an example, and of calls in which axes are longer that may have any length.

    Returns:
        The graph, and for its nodes the names of the quantizer's nodes.

    Raises:
        FreeAxisError: a module can be followed with axes of known length alone.
    """
    found = _Flattener()
    given = [found.graph.node_copy(node) for node in region.graph.find_nodes(op="placeholder")]
    found.graph.output(found.copied(_Part(region.graph, region, "", given, inputs, region.program.points)))
    found.erase_unread_moves()
    return found.graph, found.points


@dataclass(frozen=True)
class _Part:
    """A graph that is to be copied, of the whole or of a module within it.

    Args:
        graph: see there.
        root: has the modules and tensors that its nodes name.
        path: of the root within the whole.
        given: the copies of what its placeholders stand for.
        inputs: what these are for an example, and for other calls.
        points: for its nodes by name the names of the quantizer's nodes.
        is_one_node: whether the quantizer has no nodes within it.
    """

    graph: fx.Graph
    root: nn.Module
    path: str
    given: Sequence[fx.Node]
    inputs: Sequence[list[Tensor]]
    points: Mapping[str, str] = field(default_factory=dict)
    is_one_node: bool = False


@dataclass
class _Flattener:
    graph: fx.Graph = field(default_factory=fx.Graph)
    points: dict[fx.Node, str] = field(default_factory=dict)

    def copied(self, part: _Part) -> Any:
        """Copies a graph; returns the copy of its output, a node or several."""
        values = [computed(part.graph, part.root, each) for each in part.inputs]
        copies: dict[fx.Node, Any] = {}
        rest = iter(part.given)
        for node in part.graph.nodes:
            if node.op == "output":
                break
            inner = _within(part, node, copies, values) if node.op == "call_module" else None
            if node.op == "placeholder":
                found, is_own = next(rest), not part.path
            elif inner is not None:
                found, is_own = self.copied(inner), inner.is_one_node
            elif _is_one_of_several(node, copies):
                found, is_own = copies[node.args[0]][node.args[1]], False
            else:
                found, is_own = self._copy(part, node, copies), True
            point = part.points.get(node.name, "")
            copies[node] = self._named(found, point, is_own) if point else found
        return fx.node.map_arg(node.args[0], copies.__getitem__)

    def _copy(self, part: _Part, node: fx.Node, copies: Mapping[fx.Node, Any]) -> fx.Node:
        """A node as it is."""
        found = self.graph.node_copy(node, copies.__getitem__)
        if node.op in ("get_attr", "call_module"):
            found.target = joined(part.path, str(node.target))
        return found

    def _named(self, found: Any, point: str, is_own: bool) -> Any:
        """Tells a value its point; if others read what lies before the point, it becomes a value of its own."""
        if not isinstance(found, fx.Node):
            return found
        if not is_own:
            before, found = found, self.graph.call_method("clone", (found,))
            found.meta = dict(before.meta)
        self.points[found] = point
        return found

    def erase_unread_moves(self) -> None:
        """Takes out moves and sizes that nothing reads, such as last states that a network has no use for."""
        for node in reversed(self.graph.nodes):
            if node.op in ("call_function", "call_method") and not node.users and node not in self.points:
                self.graph.erase_node(node)


def _within(
    part: _Part, node: fx.Node, copies: Mapping[fx.Node, Any], values: Sequence[Mapping[fx.Node, Any]]
) -> _Part | None:
    """What is computed within a module that a node calls; None for layers, and where it cannot be followed.

    Args:
        part: that the node is of.
        node: the call.
        copies: of the nodes before it.
        values: of the nodes, for an example and for other calls.
    """
    module, path = part.root.get_submodule(str(node.target)), joined(part.path, str(node.target))
    calls, copied, points = [_call(node, each) for each in values], _call(node, copies), {}
    inputs = [each.tensors for each in calls]
    is_of_torch = type(module).__module__.startswith("torch.nn")
    if is_of_torch:
        graph = _of_torch(module, calls[0])
    elif isinstance(module, Region):
        graph, points, signature = module.graph, module.program.points, module.program.signature
        copied, inputs = copied.bound(signature.arguments), [signature.tensors_of(each) for each in calls]
    else:
        graph = _traced(module, calls) if regions_within(module) else None
    given = _tensors(copied)
    if graph is None or len(given) != len(inputs[0]):
        return None
    return _Part(graph, module, path, given, inputs, points, is_of_torch)


def _call(node: fx.Node, values: Mapping[fx.Node, Any]) -> Call:
    """How a node calls its module."""
    return Call(fx.node.map_arg(node.args, values.__getitem__), fx.node.map_arg(node.kwargs, values.__getitem__))


def _tensors(call: Call) -> list[fx.Node]:
    """The nodes that are tensors among what a module is given."""
    nodes = [each for each in call.leaves if isinstance(each, fx.Node)]
    return [node for node in nodes if isinstance(node.meta.get("value"), Tensor)]


def _is_one_of_several(node: fx.Node, copies: Mapping[fx.Node, Any]) -> bool:
    """Whether a node is one of several values that are at hand."""
    source = node.args[0] if node.target is operator.getitem else None
    return isinstance(source, fx.Node) and isinstance(copies[source], tuple | list) and isinstance(node.args[1], int)


def _traced(module: nn.Module, calls: Sequence[Call]) -> fx.Graph | None:
    """The graph of a module that has regions; None where it cannot be followed whatever sizes it is given.

    Raises:
        FreeAxisError: it cannot with axes that are free.
    """
    try:
        if any(_fixed(each) != _fixed(calls[0]) for each in calls):
            raise TraceError("it is given sizes")
        graph, reasons = trace(module, calls[0], calls[1:], leaves=(Region,))
        without_in_place(graph, module)
    except TraceError as error:
        if len(calls) > 1:
            raise FreeAxisError(f"{type(module).__name__} has no ONNX form with axes of any length: {error}") from error
        return None
    return None if reasons else graph


def _fixed(call: Call) -> list[Any]:
    """What a call is given beside tensors."""
    return [each for each in call.leaves if not isinstance(each, Tensor)]


def _of_torch(module: nn.Module, call: Call) -> fx.Graph | None:
    """The graph of a module of torch; None where it cannot be followed."""
    try:
        graph, reasons = trace(module, call)
        without_in_place(graph, module)
    except TraceError:
        return None
    simplify(graph)
    return None if reasons else graph
