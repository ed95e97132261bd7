"""Collects the nodes and constants of an ONNX graph, and gives every value a name of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kaldi_quant.errors import MissingDependencyError

if TYPE_CHECKING:
    import onnx

#: The newest operator set that is needed is 13, of per-axis QuantizeLinear; 17 is what most devices take by now.
#: Weights of 4 bits or with scales of blocks need 21.
OPSET = 17
# Of onnx 1.12 and 1.16, which brought these operator sets.
_IR_VERSIONS = {17: 8, 21: 10}
# From operator set 18 on the axes of these are an input and no attribute, and Split is told how many outputs it has.
_REDUCTIONS, _SPLIT = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSumSquare"), "Split"
_CHANGED_IN = 18

#: onnx.TensorProto's numbers of types.
FLOAT, UINT8, INT32, BOOL, DOUBLE = 1, 2, 6, 9, 11

Dim = int | str
Name = str
#: A value at an end of a graph within a graph: its name, its number of a type, and its shape, None for any length.
End = tuple[Name, int, tuple[int | None, ...]]


def require_onnx(feature: str) -> None:
    """Checks that onnx and onnxruntime are installed.

    Raises:
        MissingDependencyError: they are not; says what to install for ``feature``.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"{feature} needs onnx and onnxruntime: pip install onnx onnxruntime") from error


def context_metadata(period: int, left_context: int, right_context: int) -> dict[str, str]:
    """What a file says of the frames that it needs: Kaldi's words for it."""
    values = {"frame_subsampling_factor": period, "left_context": left_context, "right_context": right_context}
    return {key: str(value) for key, value in values.items()}


class GraphWriter:
    """An ONNX graph in the making.

    Args:
        opset: the operator set, 17 or 21.
    """

    def __init__(self, opset: int = OPSET) -> None:
        require_onnx("an ONNX graph")
        self.opset = opset
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Name] = {}
        self._taken: set[Name] = set()

    def _unique(self, wanted: Name) -> Name:
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted}.{number}"
        self._taken.add(name)
        return name

    def constant(self, value: Any, hint: Name = "constant") -> Name:
        """The name of a constant; equal ones are stored once. value: a numpy array or scalar."""
        from onnx import numpy_helper

        array = np.ascontiguousarray(value).reshape(np.shape(value))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._unique(hint)
            self._initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def narrow_constant(self, values: np.ndarray, hint: Name) -> Name:
        """The name of a constant of integers from -8 to 7, which take four bits each."""
        from onnx import TensorProto, helper

        pairs = np.append(values.reshape(-1) & 15, np.zeros(values.size % 2, values.dtype)).reshape(-1, 2)
        packed = (pairs[:, 0] | (pairs[:, 1] << 4)).astype(np.uint8).tobytes()
        key = ("int4", values.shape, packed)
        if key not in self._constants:
            self._constants[key] = self._unique(hint)
            tensor = helper.make_tensor(self._constants[key], TensorProto.INT4, values.shape, packed, raw=True)
            self._initializers.append(tensor)
        return self._constants[key]

    def integers(self, *values: int) -> Name:
        """The name of a one-dimensional int64 constant."""
        return self.constant(np.array(values, np.int64), "integers")

    def op(self, kind: str, inputs: Sequence[Name], hint: Name = "", **attributes: Any) -> Name:
        """Adds an operator with one output; returns the output's name.

        Args:
            kind: the operator.
            inputs: names of values; empty for those left out.
            hint: the output's name, if it is still free.
            attributes: the operator's.
        """
        return self.op_of_several(kind, inputs, [hint or kind.lower()], **attributes)[0]

    def op_of_several(self, kind: str, inputs: Sequence[Name], hints: Sequence[Name], **attributes: Any) -> list[Name]:
        """Adds an operator with an output for each hint; returns the outputs' names."""
        from onnx import helper

        if self.opset >= _CHANGED_IN:
            if kind in _REDUCTIONS and "axes" in attributes:
                inputs = [*inputs, self.integers(*attributes.pop("axes"))]
            if kind == _SPLIT and len(inputs) == 1:
                attributes["num_outputs"] = len(hints)
        outputs = [self._unique(hint) for hint in hints]
        self._nodes.append(helper.make_node(kind, list(inputs), outputs, name=outputs[0], **attributes))
        return outputs

    def reserve(self, name: Name) -> None:
        """Keeps a name for an input or output."""
        self._taken.add(name)

    def new_name(self, wanted: Name) -> Name:
        """A name that nothing else has."""
        return self._unique(wanted)

    def within(self) -> GraphWriter:
        """A graph within this one: it reads this one's constants, and shares no other name with it."""
        inner = GraphWriter(self.opset)
        inner._initializers, inner._constants, inner._taken = self._initializers, self._constants, self._taken
        return inner

    def body(self, name: str, inputs: Sequence[End], outputs: Sequence[End]) -> onnx.GraphProto:
        """The graph, ``within`` another, as an attribute of an operator there."""
        from onnx import helper

        given, results = ([helper.make_tensor_value_info(*end) for end in side] for side in (inputs, outputs))
        return helper.make_graph(self._nodes, name, given, results)

    def finish(
        self,
        name: str,
        inputs: dict[Name, tuple[Dim, ...]],
        outputs: dict[Name, tuple[Name, tuple[Dim, ...]]],
        metadata: dict[str, str],
        kinds: Mapping[Name, int] | None = None,
    ) -> onnx.ModelProto:
        """The model.

        Args:
            name: of the graph.
            inputs: shapes of the inputs, by name; a str is an axis of any length.
            outputs: for each output the value and its shape.
            metadata: stored in the file.
            kinds: types of inputs and outputs that are not float32.
        """
        from onnx import helper

        import kaldi_quant

        kinds = kinds or {}

        ends = [helper.make_node("Identity", [value], [key], name=key) for key, (value, _) in outputs.items()]
        nodes = [*self._nodes, *ends]
        read = _read_by(nodes)
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info(key, kinds.get(key, FLOAT), shape) for key, shape in inputs.items()],
            [helper.make_tensor_value_info(key, kinds.get(key, FLOAT), shape) for key, (_, shape) in outputs.items()],
            [each for each in self._initializers if each.name in read],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", self.opset)],
            ir_version=_IR_VERSIONS[self.opset],
            producer_name="kaldi_quant",
            producer_version=kaldi_quant.__version__,
        )
        helper.set_model_props(model, metadata)
        return model


def _read_by(nodes: Iterable[onnx.NodeProto]) -> set[Name]:
    """The names of what nodes read, and those in graphs within them."""
    found: set[Name] = set()
    for node in nodes:
        found.update(node.input)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found |= _read_by(attribute.g.node)
    return found
