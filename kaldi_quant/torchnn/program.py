"""The graph of a traced network as a program: its nodes are computed one after another, their values shown to taps."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn

from kaldi_quant.quant.host import Arithmetic
from kaldi_quant.quant.taps import Tap
from kaldi_quant.torchnn.calls import Call, Signature
from kaldi_quant.torchnn.computation import compute

Taps = Mapping[str, Tap]
Arithmetics = Mapping[str, Arithmetic]


class Program:
    """A graph, which copies of a network share.

    Args:
        graph: each node's ``meta["value"]`` is what an example gives, and ``meta["stack"]`` the modules around it.
        signature: of the calls.
    """

    def __init__(self, graph: fx.Graph, signature: Signature) -> None:
        self.graph, self.signature = graph, signature
        #: For nodes of the graph, by name, the names of the quantizer's nodes.
        self.points: dict[str, str] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Program:
        return self

    def changeable(self) -> Program:
        """A program with a graph of its own."""
        graph = fx.Graph()
        graph.output(graph.graph_copy(self.graph, {}))
        return Program(graph, self.signature)

    def run(self, root: nn.Module, call: Call, taps: Taps, arithmetic: Arithmetics) -> Any:
        """What the network gives.

        Args:
            root: has the modules and tensors that nodes name.
            call: the input.
            taps: for some of the quantizer's nodes.
            arithmetic: for some of its additions and products of two values another way.

        Raises:
            DataError: the call is another kind than the example.
        """
        values = self.begin(call, taps)
        for node in self.steps:
            self.step(node, root, values, taps, arithmetic)
        return self.result(values)

    def result(self, values: Mapping[fx.Node, Any]) -> Any:
        """What the network gives; values: after the last step."""
        return fx.node.map_arg(self.output.args[0], values.__getitem__)

    def begin(self, call: Call, taps: Taps) -> dict[fx.Node, Any]:
        """What there is before the first step; arguments and errors as of ``run``."""
        inputs = self.graph.find_nodes(op="placeholder")
        values = dict(zip(inputs, self.signature.tensors_of(call), strict=True))
        for node, value in values.items():
            point = self.points.get(node.name, "")
            values[node] = taps[point](value) if point in taps else value
        # Inputs that nothing reads.
        return {node: value for node, value in values.items() if node.users}

    def step(
        self,
        node: fx.Node,
        root: nn.Module,
        values: dict[fx.Node, Any],
        taps: Taps,
        arithmetic: Mapping[str, Arithmetic],
    ) -> Any:
        """Computes one of ``steps``, and forgets what no later one reads; arguments as of ``run``."""
        point = self.points.get(node.name, "")
        if point in arithmetic:
            value = arithmetic[point]([values[operand] for operand in node.args])  # type: ignore[index]
        else:
            value = compute(node, root, values.__getitem__)
        values[node] = value = taps[point](value) if point in taps else value
        for done in self._last_read[node]:
            del values[done]
        return value

    @cached_property
    def steps(self) -> list[fx.Node]:
        """The nodes that are computed, in order."""
        return [node for node in self.graph.nodes if node.op not in ("placeholder", "output")]

    @property
    def output(self) -> fx.Node:
        """The last node."""
        return next(reversed(self.graph.nodes))

    @cached_property
    def _last_read(self) -> dict[fx.Node, list[fx.Node]]:
        """For each node those that nothing reads after it."""
        places = {node: place for place, node in enumerate(self.graph.nodes)}
        found: dict[fx.Node, list[fx.Node]] = {node: [] for node in places}
        for node in places:
            found[max([node, *node.users], key=places.__getitem__)].append(node)
        return found

    def find_shapes(self, root: nn.Module, call: Call) -> None:
        """Computes an example; of its values shapes alone are kept, and whatever is no tensor of floats.

        Args:
            root: has the modules and tensors that nodes name.
            call: the example.
        """
        inputs = self.graph.find_nodes(op="placeholder")
        for node, value in zip(inputs, self.signature.tensors_of(call), strict=True):
            node.meta.update(value=value, stack=())
        values = self.begin(call, {})
        for node in self.steps:
            node.meta.update(value=self.step(node, root, values, {}, {}), stack=())
        self.forget_values()

    def forget_values(self) -> None:
        """Forgets the example's values, all but their shapes."""
        for node in self.graph.nodes:
            if "value" in node.meta:
                node.meta["value"] = _shape_alone(node.meta["value"])


def one_call(network: nn.Module, call: Call) -> fx.Graph:
    """The graph of a network that is called as it is; the network is the root itself."""
    graph = fx.Graph()
    inputs = []
    for place, value in enumerate(call.tensors):
        inputs.append(graph.placeholder(f"input_{place}"))
        inputs[-1].meta.update(value=value, stack=())
    inner = call.with_tensors(inputs)
    whole = graph.call_module("", inner.args, dict(inner.kwargs))
    with torch.no_grad():
        whole.meta.update(value=call.copied().run(copy.deepcopy(network)), stack=())
    graph.output(whole)
    return graph


def _shape_alone(value: Any) -> Any:
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        return tuple(_shape_alone(one) for one in value)
    if isinstance(value, Tensor) and value.is_floating_point():
        return torch.zeros((), dtype=value.dtype).expand(value.shape)
    return value
