"""An ONNX file read as a network of torch: nothing in it is executed, and what is not understood is an error."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from torch import fx

from kaldi_quant.backends.onnx.reading import one_line, quantized_by, read_whole_model, tensor_array
from kaldi_quant.errors import FormatError
from kaldi_quant.torchnn.onnx_import import operators  # noqa: F401 - add themselves
from kaldi_quant.torchnn.onnx_import.branches import take_branch
from kaldi_quant.torchnn.onnx_import.building import Building, Shape
from kaldi_quant.torchnn.onnx_import.folding import FOLDED, folded
from kaldi_quant.torchnn.onnx_import.naming import identifier
from kaldi_quant.torchnn.onnx_import.operator import OPERATORS, Operator
from kaldi_quant.torchnn.onnx_import.sizes import SIZES
from kaldi_quant.torchnn.onnx_import.values import Filled, is_sizes
from kaldi_quant.torchnn.variants import FAILURES

if TYPE_CHECKING:
    import onnx

#: The operator sets whose operators are understood.
OPSETS = range(11, 22)
_OWN_DOMAIN = ("", "ai.onnx")
_BRANCHING = "If"


def read_onnx_network(path: str | os.PathLike[str]) -> fx.GraphModule:
    """Reads a float network of an ONNX file, of operator sets 11 to 21.

    Products, normalizations and recurrent operators become modules of ``torch.nn``, all else functions of torch. They
    are named as the weights in the file are, or as its nodes. Axes of any length stay such; what the file tells of
    others is relied on, and not checked when the network is called. The arguments of the network are the file's
    inputs, by their names as far as Python allows; it returns a tensor, or a tuple where the file has several outputs.

    Args:
        path: of the file; tensors may lie in other files beside it.

    Raises:
        FormatError: the file is missing, truncated or malformed, it is quantized already, or an operator is not
            understood, which names the operator, the node and the file.
        MissingDependencyError: onnx is not installed.

    Source: ONNX operators, https://onnx.ai/onnx/operators.

    Example:
        >>> network = read_onnx_network("network.onnx")
        >>> network(torch.randn(1, 257, 40)).shape
    """
    where, model = os.fspath(path), read_whole_model(path)
    what = quantized_by(model)
    if what is not None:
        raise FormatError(where, None, f"the network is quantized already ({what}): expected one in float")
    model = _without_functions(where, model)
    while True:
        try:
            return _Reader(where, model).network()
        except _DecidedError as decided:
            take_branch(model.graph, decided.node, decided.condition)


class _DecidedError(Exception):
    """An If whose condition is known: only one of its graphs is ever computed.

    Args:
        node: the operator.
        condition: that it has.
    """

    def __init__(self, node: onnx.NodeProto, condition: bool) -> None:
        super().__init__()
        self.node, self.condition = node, condition


class _Reader:
    """Follows the graph of a file.

    Args:
        path: of the file, for messages.
        model: that it holds.
    """

    def __init__(self, path: str, model: onnx.ModelProto) -> None:
        self.path, self.model = path, model
        self.building = Building(path, self._opset(), self.model.graph)

    def _opset(self) -> int:
        for node in self.model.graph.node:
            known = (
                node.op_type == _BRANCHING
                or node.op_type in OPERATORS
                or node.op_type in SIZES
                or node.op_type in FOLDED
            )
            if node.domain not in _OWN_DOMAIN or not known:
                kind = f"{node.domain}.{node.op_type}" if node.domain not in _OWN_DOMAIN else node.op_type
                name = node.name or next(iter(node.output), "")
                raise FormatError(self.path, None, f"the operator {kind} (node {name!r}) is not understood")
        version = next((each.version for each in self.model.opset_import if each.domain in _OWN_DOMAIN), 0)
        if version not in OPSETS:
            expected = f"from {OPSETS[0]} to {OPSETS[-1]}"
            raise FormatError(self.path, None, f"it is of the operator set {version}: expected one {expected}")
        return version

    def network(self) -> fx.GraphModule:
        """The network."""
        building, graph = self.building, self.model.graph
        for tensor in graph.initializer:
            building.values[tensor.name] = tensor_array(self.path, tensor)
        for given in graph.input:
            if given.name in building.values:
                continue
            if not given.type.HasField("tensor_type"):
                raise FormatError(self.path, None, f"the input {given.name!r} is no tensor")
            arguments = [node.target for node in building.graph.nodes]
            building.values[given.name] = building.graph.placeholder(identifier(given.name, arguments))
        rest = [node for node in graph.node if not self._fold(node)]
        building.shapes, building.types = _known(self.path, self.model, building.constants())
        for node in rest:
            self._read(node)
        results = tuple(self._output(each.name) for each in graph.output)
        building.graph.output(results[0] if len(results) == 1 else results)
        found = fx.GraphModule(building.root, building.graph, "OnnxNetwork")
        if found.graph.eliminate_dead_code():
            found.recompile()
        return found.eval()

    def _fold(self, node: onnx.NodeProto) -> bool:
        """Computes what depends on constants alone, if the node is such."""
        values = [self.building.values.get(name) if name else None for name in node.input]
        arrays = [value if isinstance(value, np.ndarray) else None for value in values]
        if any(name and array is None for name, array in zip(node.input, arrays, strict=True)):
            return False
        found = folded(Operator(node, self.building), arrays, self.building.opset)
        if found is None:
            return False
        self.building.values[node.output[0]] = found
        return True

    def _read(self, node: onnx.NodeProto) -> None:
        building = self.building
        if node.output[0] in building.values or self._fold(node):
            # A product has taken it up, or it is computed from constants.
            return
        operator = Operator(node, building)
        if node.op_type == _BRANCHING:
            raise _DecidedError(node, bool(operator.number(0, "a condition")))
        given = [operator.value(place) for place in range(len(node.input)) if operator.has(place)]
        on_sizes = any(map(is_sizes, given)) and not any(isinstance(x, fx.Node | Filled) for x in given)
        handler = SIZES.get(node.op_type) if on_sizes else None
        handler = handler or OPERATORS.get(node.op_type)
        if handler is None:
            operator.refuse("reads what the network computes, which is not understood")
        try:
            result = handler(operator)
        except (*FAILURES, MemoryError) as error:
            operator.refuse(f"cannot be read: {one_line(error)}")
        operator.check_all_asked()
        results = result if isinstance(result, tuple) else (result,)
        for place, name in enumerate(node.output):
            if place < len(results) and results[place] is not None:
                building.values[name] = results[place]  # type: ignore[assignment]
            elif operator.uses(place):
                operator.refuse(f"has an output {place} that is used, which is not understood")

    def _output(self, name: str) -> fx.Node:
        found = self.building.values[name]
        if isinstance(found, fx.Node):
            return found
        if isinstance(found, Filled):
            return self.building.filled(found)
        if is_sizes(found):
            raise FormatError(self.path, None, f"the output {name!r} is sizes of tensors, which is not understood")
        node = next((node for node in self.model.graph.node if name in node.output), None)
        if node is None:
            raise FormatError(self.path, None, f"the output {name!r} is no result of an operator")
        return self.building.stored(node, name, found)


def _without_functions(path: str, model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with functions that the file defines written out."""
    if not model.functions:
        return model
    import onnx.inliner

    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as error:
        raise FormatError(path, None, f"its functions cannot be written out: {one_line(error)}") from error


def _known(
    path: str, model: onnx.ModelProto, constants: Mapping[str, np.ndarray]
) -> tuple[dict[str, Shape], dict[str, int]]:
    """The sizes and the types of values, as far as the file tells them or they follow; constants: by name."""
    import onnx.shape_inference
    from onnx import numpy_helper

    # What the file itself says of values within may be of the example alone that it was written with.
    bare = copy.deepcopy(model)
    del bare.graph.value_info[:]
    nodes = [node for node in bare.graph.node if node.output[0] not in constants]
    del bare.graph.node[:], bare.graph.initializer[:]
    bare.graph.node.extend(nodes)
    bare.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    try:
        graph = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
    except Exception as error:
        raise FormatError(path, None, f"the shapes of its values contradict themselves: {one_line(error)}") from error
    shapes: dict[str, Shape] = {}
    types: dict[str, int] = {}
    for value in [*graph.input, *graph.output, *graph.value_info]:
        kind = value.type.tensor_type
        types[value.name] = kind.elem_type
        if kind.HasField("shape"):
            shapes[value.name] = [each.dim_value if each.HasField("dim_value") else None for each in kind.shape.dim]
    return shapes, types
