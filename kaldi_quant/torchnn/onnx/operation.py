"""An operation of a network that is being written as ONNX, and the registry of what can be written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from torch import Tensor, fx, nn

from kaldi_quant.backends.onnx.writer import GraphWriter, Name
from kaldi_quant.errors import ModelError
from kaldi_quant.registry import Registry
from kaldi_quant.torchnn.graph_nodes import name_of
from kaldi_quant.torchnn.onnx.axes import FreeAxisError, KnownSizes, Shape
from kaldi_quant.torchnn.onnx.sizes import Number, Sizes
from kaldi_quant.torchnn.onnx.values import Value


@dataclass
class Operation:
    """A node of a traced graph, with what it reads in the graph that is being written.

    Args:
        node: the node.
        writer: the graph.
        known: the sizes of all nodes.
        args: what the node reads by position: tensors as ``Value``, sizes as numbers.
        kwargs: by name.
        take: the name of a value, in integers for moves whose sources lie on one grid, else in floats.
        zero: a zero of that kind.
        point: the name of the quantizer's node, for messages.
        module: that the node calls, if it calls one.
    """

    node: fx.Node
    writer: GraphWriter
    known: KnownSizes
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    take: Callable[[Value], Name]
    zero: np.generic
    point: str = ""
    module: nn.Module | None = None

    @property
    def sizes(self) -> Sizes:
        """Computes with sizes."""
        return Sizes(self.writer)

    @property
    def name(self) -> str:
        """Of the function or method."""
        return name_of(self.node)

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """An argument by place, the first being the tensor, or by name; tensors as ``Value``."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)

    def tensor(self, place: int, name: str) -> Name:
        """The name of an argument that is a tensor or a number; empty for None."""
        return self.named(self.argument(place, name))

    def named(self, value: Any) -> Name:
        """The name of a tensor or a number; empty for None."""
        if value is None:
            return ""
        if isinstance(value, Value):
            return self.take(value)
        if not isinstance(value, bool | int | float):
            self.refuse("reads something that is neither a tensor nor a number")
        return self.writer.constant(np.float32(value))

    @property
    def x(self) -> Name:
        """The first argument."""
        return self.tensor(0, "input")

    @property
    def source(self) -> fx.Node:
        """The node of the first argument."""
        found = self.node.args[0] if self.node.args else self.node.kwargs["input"]
        assert isinstance(found, fx.Node)
        return found

    @property
    def before(self) -> Shape:
        """The shape of the first argument."""
        return self.known.shape(self.source)

    @property
    def after(self) -> Shape:
        """The shape of the result."""
        return self.known.shape(self.node)

    @property
    def example(self) -> Any:
        """What the node is for the example."""
        return self.known.values[self.node]

    def x_sizes(self) -> list[Number]:
        """The sizes of the first argument."""
        return self.sizes.of(self.x, self.before)

    def axis(self, place: int, name: str, default: int | None = None) -> int:
        """An argument that is an axis of the first, from zero up."""
        found = self.argument(place, name, default)
        if not isinstance(found, int):
            self.refuse(f"has no ONNX form with the axis {found}")
        return found % max(1, len(self.before))

    def constant_of(self, place: int, name: str) -> Tensor | None:
        """An argument that is a tensor of the network's own, for its value."""
        found = self.node.args[place] if len(self.node.args) > place else self.node.kwargs.get(name)
        return self.known.values[found] if isinstance(found, fx.Node) else None

    def size_known(self, axis: int) -> int:
        """The size of an axis of the first argument.

        Raises:
            FreeAxisError: it is free.
        """
        found = self.before[axis]
        if found is None:
            raise FreeAxisError(
                f"the node {self.point or self.node.name} ({self.name}) has no ONNX form over an axis of any length"
            )
        return found

    def op(self, kind: str, inputs: Sequence[Any], **attributes: Any) -> Name:
        """An operator of names and numbers."""
        names = [each if isinstance(each, str) else self.named(each) for each in inputs]
        return self.writer.op(kind, names, **attributes)

    def refuse(self, why: str) -> NoReturn:
        """Refuses the operation.

        Raises:
            ModelError: always.
        """
        raise ModelError(f"the node {self.point or self.node.name} ({self.name}) {why}")


#: What operations become, by the name of the function, method or module: names of values, in the order of its results.
Emitter = Callable[[Operation], Name | tuple[Name, ...]]
EMITTERS: Registry[Emitter] = Registry("operation with an ONNX form")


def adds(*names: str) -> Callable[[Emitter], Emitter]:
    """A decorator that adds an emitter under several names."""

    def decorator(emitter: Emitter) -> Emitter:
        for name in names:
            EMITTERS.add(name)(emitter)
        return emitter

    return decorator
