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
    found.graph.output(found.copied(region.graph, region, "", region.program.points, given, inputs))
    found.erase_unread_moves()
    return found.graph, found.points


@dataclass
class _Flattener:
    graph: fx.Graph = field(default_factory=fx.Graph)
    points: dict[fx.Node, str] = field(default_factory=dict)

    def copied(
        self,
        graph: fx.Graph,
        root: nn.Module,
        path: str,
        points: Mapping[str, str],
        given: Sequence[fx.Node],
        inputs: Sequence[list[Tensor]],
    ) -> Any:
        """Copies a graph; returns the copy of its output, a node or several.

        Args:
            graph: as of a region or of a module.
            root: has the modules and tensors that its nodes name.
            path: of the root within the whole.
            points: for its nodes by name the names of the quantizer's nodes.
            given: what its placeholders are here.
            inputs: of an example, and of other calls.
        """
        values = [computed(graph, root, each) for each in inputs]
        copies: dict[fx.Node, Any] = {}
        rest = iter(given)
        for node in graph.nodes:
            if node.op == "output":
                break
            point = points.get(node.name, "")
            if node.op == "placeholder":
                copies[node] = next(rest)
                self._name(copies, node, point, is_own=not path)
                continue
            inner = _of_torch(root, node, values[0]) if node.op == "call_module" else None
            is_own = True
            if inner is not None:
                given_here = [copies[each] for each in _nodes_in(node)]
                tensors = [[value[each] for each in _nodes_in(node)] for value in values]
                target = joined(path, str(node.target))
                copies[node] = self.copied(inner, root.get_submodule(str(node.target)), target, {}, given_here, tensors)
            elif node.op == "call_module" and _can_be_unrolled(root.get_submodule(str(node.target))):
                copies[node], is_own = self._unrolled(root, node, path, copies, values)
            elif _is_part(node, copies):
                copies[node], is_own = copies[node.args[0]][node.args[1]], False
            else:
                copies[node] = self._call(node, path, copies)
            self._name(copies, node, point, is_own)
        return fx.node.map_arg(node.args[0], copies.__getitem__)

    def _name(self, copies: dict[fx.Node, Any], node: fx.Node, point: str, is_own: bool) -> None:
        """Tells a node its point; a node of its own for that, where others read what lies before the point."""
        if point and isinstance(copies[node], fx.Node):
            if not is_own:
                before = copies[node]
                copies[node] = self.graph.call_method("clone", (before,))
                copies[node].meta = dict(before.meta)
            self.points[copies[node]] = point

    def _unrolled(
        self, root: nn.Module, node: fx.Node, path: str, copies: Mapping[fx.Node, Any], values: Sequence[Mapping]
    ) -> tuple[Any, bool]:
        """A region, or a module that has regions, in the place of its call, if it can be followed.

        Returns:
            The copy of its output, and whether that is still a call of the module.
        """
        module, inner = root.get_submodule(str(node.target)), joined(path, str(node.target))
        calls = [_call(node, each) for each in values]
        copied = _call(node, copies)
        if isinstance(module, Region):
            copied = copied.bound(module.original)
            inputs = [module.program.signature.tensors_of(each) for each in calls]
        else:
            inputs = [each.tensors for each in calls]
        graph = module.graph if isinstance(module, Region) else _traced(module, calls)
        points = module.program.points if isinstance(module, Region) else {}
        given = [each for each in copied.leaves if _is_tensor(each)]
        if graph is None or len(given) < len(inputs[0]):
            return self._call(node, path, copies), True
        return self.copied(graph, module, inner, points, given, inputs), False

    def _call(self, node: fx.Node, path: str, copies: Mapping[fx.Node, Any]) -> fx.Node:
        """A node as it is."""
        copy = self.graph.node_copy(node, copies.__getitem__)
        if node.op in ("get_attr", "call_module"):
            copy.target = joined(path, str(node.target))
        return copy

    def erase_unread_moves(self) -> None:
        """Takes out moves and sizes that nothing reads, such as last states that a network has no use for."""
        for node in reversed(self.graph.nodes):
            if node.op in ("call_function", "call_method") and not node.users and node not in self.points:
                self.graph.erase_node(node)


def _call(node: fx.Node, values: Mapping[fx.Node, Any]) -> Call:
    """How a node calls its module."""
    return Call(fx.node.map_arg(node.args, values.__getitem__), fx.node.map_arg(node.kwargs, values.__getitem__))


def _is_tensor(value: Any) -> bool:
    return isinstance(value, fx.Node) and isinstance(value.meta.get("value"), Tensor)


def _is_part(node: fx.Node, copies: Mapping[fx.Node, Any]) -> bool:
    """Whether a node is one of several results that are at hand."""
    source = node.args[0] if node.target is operator.getitem else None
    return isinstance(source, fx.Node) and isinstance(copies[source], tuple | list) and isinstance(node.args[1], int)


def _can_be_unrolled(module: nn.Module) -> bool:
    return isinstance(module, Region) or bool(regions_within(module))


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


def _of_torch(root: nn.Module, node: fx.Node, values: Mapping[fx.Node, Any]) -> fx.Graph | None:
    """The graph of a module of torch that a node calls; None for all else, and where it cannot be followed."""
    module = root.get_submodule(str(node.target))
    if not type(module).__module__.startswith("torch.nn"):
        return None
    try:
        graph, reasons = trace(module, _call(node, values))
        without_in_place(graph, module)
    except TraceError:
        return None
    simplify(graph)
    return None if reasons else graph


def _nodes_in(node: fx.Node) -> list[fx.Node]:
    """The tensors among the arguments of a call, in order."""
    found: list[fx.Node] = []
    fx.node.map_arg((node.args, node.kwargs), found.append)
    return found
