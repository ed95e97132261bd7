"""How much memory the values of an ONNX graph take at once: each is kept from when it is computed to its last reader.

What stands between DequantizeLinear and QuantizeLinear is taken as one operator on 8 bits, together with an activation
behind it, as devices run it: floats between them are nowhere. A product of integers whose result stays in float reads
8 bits, too. An activation in float works in place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kaldi_quant.units import Bytes

if TYPE_CHECKING:
    import onnx

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
# The same values in the same place.
_VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout"})
_ACTIVATIONS = frozenset(
    {
        *("Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Celu", "Selu", "Sigmoid", "HardSigmoid", "Tanh", "Softplus"),
        *("HardSwish", "Gelu", "Mish", "Exp", "Log", "Sqrt", "Abs", "Neg", "Erf"),
    }
)


class Peak(NamedTuple):
    """The most memory that is needed at any time.

    Args:
        bytes: in all.
        node: the operator that runs then.
        values: that are kept then, by name.
    """

    bytes: Bytes
    node: str
    values: dict[str, Bytes]


def peak_of_activations(graph: onnx.GraphProto, values: Mapping[str, np.ndarray]) -> Peak:
    """The greatest amount of memory for values that depend on inputs, in the order of the graph.

    Args:
        graph: that is run.
        values: all of it, as ``graph_values`` gives them.
    """
    return _Lives(graph, values).peak()


class _Lives:
    def __init__(self, graph: onnx.GraphProto, values: Mapping[str, np.ndarray]) -> None:
        self.graph, self.values = graph, values
        constants = {each.name for each in graph.initializer}
        self.inputs = [each.name for each in graph.input if each.name not in constants]
        self.outputs = {each.name for each in graph.output}
        computed = set(self.inputs)
        self.nodes: list[onnx.NodeProto] = []
        for node in graph.node:
            # What depends on sizes alone takes next to nothing.
            if computed & set(node.input) and values[node.output[0]].dtype != np.int64:
                computed.update(name for name in node.output if name)
                self.nodes.append(node)
        self.computed = computed
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        self.made_by = {name: node for node in self.nodes for name in node.output}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.readers[name].append(node)
        #: For values that are in the place of another that one.
        self.place: dict[str, str] = {}

    def peak(self) -> Peak:
        """See ``peak_of_activations``."""
        self._fuse()
        self._share()
        ends: dict[str, int] = {}
        begins: dict[str, int] = {self._at(name): -1 for name in self.inputs if self.readers[name]}
        for place, node in enumerate(self.nodes):
            for name in filter(None, node.output):
                begins.setdefault(self._at(name), place)
                ends[self._at(name)] = max(ends.get(self._at(name), 0), place)
            for name in set(node.input) & self.computed:
                ends[self._at(name)] = place
        ends |= {self._at(name): len(self.nodes) for name in self.outputs if name in self.computed}
        best = Peak(0, "", {})
        for place, node in enumerate(self.nodes):
            kept = {
                name: self._bytes(name) for name, begin in begins.items() if begin <= place <= ends.get(name, begin)
            }
            if sum(kept.values()) > best.bytes:
                best = Peak(sum(kept.values()), node.name or node.output[0], kept)
        return best

    def _at(self, name: str) -> str:
        while name in self.place:
            name = self.place[name]
        return name

    def _bytes(self, name: str) -> Bytes:
        return self.values[name].nbytes

    def _given(self, node: onnx.NodeProto) -> list[str]:
        return [name for name in dict.fromkeys(node.input) if name in self.computed]

    def _fuse(self) -> None:
        """Puts the floats between DequantizeLinear and QuantizeLinear into the place of the result."""
        whole: set[int] = set()
        for node in self.nodes:
            if node.op_type != _QUANTIZE or node.input[0] not in self.made_by:
                continue
            found = self._between(node.input[0])
            for inner in found:
                whole.add(id(inner))
                self.place[inner.output[0]] = node.output[0]
        whole |= {id(node) for node in self.nodes if node.op_type in _PRODUCTS}
        for node in self.nodes:
            of_integers = all(id(reader) in whole for reader in self.readers[node.output[0]])
            if node.op_type == _DEQUANTIZE and of_integers and node.output[0] not in self.outputs:
                self.place[node.output[0]] = node.input[0]

    def _between(self, name: str) -> list[onnx.NodeProto]:
        """The operator, and an activation behind it, that a quantized value is computed by on 8 bits; else nothing."""
        found: list[onnx.NodeProto] = []
        while name in self.made_by and len(found) < 2:
            node, readers = self.made_by[name], self.readers[name]
            is_one = all(each.op_type == _QUANTIZE for each in readers) if not found else len(readers) == 1
            if not is_one or name in self.outputs or len(node.output) > 1 or node.op_type in (_QUANTIZE, _DEQUANTIZE):
                return []
            found.append(node)
            given = self._given(node)
            if all(each in self.made_by and self.made_by[each].op_type == _DEQUANTIZE for each in given):
                return found
            if node.op_type not in _ACTIVATIONS:
                return []
            name = given[0]
        return []

    def _share(self) -> None:
        """Lets views, and activations in float whose input nothing else reads, be in the place of what they read."""
        for node in self.nodes:
            given = self._given(node)
            if not given or node.output[0] in self.place:
                continue
            last = len(self.readers[given[0]]) == 1 and given[0] not in self.outputs and given[0] in self.made_by
            if node.op_type in _VIEWS or (node.op_type in _ACTIVATIONS and last):
                self.place[node.output[0]] = given[0]
