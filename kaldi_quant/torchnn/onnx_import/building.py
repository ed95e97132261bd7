"""A network in the making while an ONNX graph is read: functions of torch as a graph (``torch.fx``), and modules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx, nn

from kaldi_quant.backends.onnx.reading import all_nodes
from kaldi_quant.errors import FormatError
from kaldi_quant.torchnn.onnx_import.naming import Tree, path_of_constant, path_of_node
from kaldi_quant.torchnn.onnx_import.values import Filled, Value, is_constant

if TYPE_CHECKING:
    import onnx

#: The sizes of a tensor as far as the file tells them.
Shape = list[int | None]


class Building:
    """The network.

    Args:
        path: of the file, for messages.
        opset: of the file.
        onnx_graph: that is read.
    """

    def __init__(self, path: str, opset: int, onnx_graph: onnx.GraphProto) -> None:
        self.path, self.opset = path, opset
        #: Of values of the file, by name, as far as the file tells them; types are ONNX's numbers.
        self.shapes: dict[str, Shape] = {}
        self.types: dict[str, int] = {}
        self.graph, self.root = fx.Graph(), nn.Module()
        self.values: dict[str, Value] = {}
        self._tree = Tree(self.root)
        self._modules: dict[Any, str] = {}
        self._stored: dict[str, fx.Node] = {}
        self._outputs = {each.name for each in onnx_graph.output}
        # Graphs within operators read values, too.
        self._reads = Counter(name for node in all_nodes(onnx_graph) for name in node.input)
        self._readers = {name: node for node in onnx_graph.node for name in node.input}

    def is_read(self, name: str) -> bool:
        """Whether a value of the file is read by anything."""
        return bool(name) and (self._reads[name] > 0 or name in self._outputs)

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The one node that reads a value, and reads it once; None where there is none or are more."""
        return self._readers.get(name) if self._reads[name] == 1 and name not in self._outputs else None

    def stored(self, node: onnx.NodeProto, name: str, array: np.ndarray) -> fx.Node:
        """A constant of the file as a tensor of the network: a parameter, if it holds floats.

        Args:
            node: that reads it.
            name: of it in the file.
            array: its values.

        Raises:
            FormatError: torch has no such type.
        """
        if name not in self._stored:
            try:
                tensor = torch.from_numpy(np.array(array, copy=True))
            except TypeError as error:
                raise FormatError(
                    self.path, None, f"{name!r} holds {array.dtype}, which torch does not have"
                ) from error
            value = nn.Parameter(tensor) if tensor.is_floating_point() else tensor
            path = self._tree.add(path_of_constant(node, name), value)
            self._stored[name] = self.graph.get_attr(path)
        return self._stored[name]

    def filled(self, value: Filled) -> fx.Node:
        """A tensor of one number as the network makes it."""
        dtype = torch.from_numpy(np.asarray(value.value).reshape(1)).dtype
        return self.graph.call_function(torch.full, (value.sizes, value.value.item()), {"dtype": dtype})

    def call_module(
        self,
        node: onnx.NodeProto,
        constants: Sequence[str],
        make: Callable[[], nn.Module],
        args: Sequence[Any],
        also: Any = (),
    ) -> fx.Node:
        """A module on tensors; nodes of the same constants and attributes share one.

        Args:
            node: that it is for.
            constants: of the file that its parameters are from, by name.
            make: makes it.
            args: of the call.
            also: what else tells it from others.
        """
        options = tuple(sorted(each.SerializeToString() for each in node.attribute))
        key = (node.op_type, tuple(constants), options, also)
        if key not in self._modules:
            self._modules[key] = self._tree.add(path_of_node(node, constants), make().eval())
        return self.graph.call_module(self._modules[key], tuple(args))

    def constants(self) -> dict[str, np.ndarray]:
        """All constants that are known, by name."""
        return {name: value for name in self.values if (value := self.constant_of(name)) is not None}

    def constant_of(self, name: str) -> np.ndarray | None:
        """A constant by name; None for all else."""
        found = self.values.get(name)
        return found if isinstance(found, np.ndarray) and is_constant(found) else None
