"""What an ONNX graph computes from constants alone, such as the shapes that PyTorch writes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kaldi_quant.backends.onnx.reading import one_line, tensor_array
from kaldi_quant.torchnn.onnx_import.operator import Operator

#: Operators whose results are not much larger than what they read.
FOLDED = frozenset(
    {
        *("Constant", "Identity", "Cast", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Concat", "Slice"),
        *("Add", "Sub", "Mul", "Div", "Neg", "Abs", "Sqrt", "Exp", "Log", "Pow", "Reciprocal", "Floor", "Ceil"),
        *("Equal", "Where", "Not", "Shape", "Size", "ReduceSum", "ReduceProd", "Gather"),
    }
)
# Of these the result is as large as the operands together make it.
_BROADCASTING = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Equal", "Where"})
#: Of a constant that the file does not hold, so many numbers.
MOST = 1 << 24


def folded(operator: Operator, arrays: Sequence[np.ndarray | None], opset: int) -> np.ndarray | None:
    """The result of an operator on constants; None where it has another or several.

    Args:
        operator: the operator.
        arrays: what it reads, None where it has no input.
        opset: of the file.
    """
    node = operator.node
    if operator.kind == "Constant":
        return _constant(operator)
    if operator.kind == "ConstantOfShape" and arrays[0] is not None and arrays[0].dtype != object:
        small = np.prod(arrays[0], dtype=float) <= MOST
        return np.full(arrays[0].tolist(), filling(operator)) if small else None
    known = all(array is None or array.dtype != object for array in arrays)
    if operator.kind not in FOLDED or len(node.output) != 1 or not arrays or not known:
        return None
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    given = {name: array for name, array in zip(node.input, arrays, strict=True) if array is not None}
    _check_size(operator, list(given.values()))
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given.items()
    ]
    outputs = [helper.make_tensor_value_info(node.output[0], TensorProto.UNDEFINED, None)]
    graph = helper.make_graph([node], "constants", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        (found,) = ReferenceEvaluator(model).run(None, given)
    except Exception as error:  # noqa: BLE001 - the evaluator has many of its own
        operator.refuse(f"cannot be computed from its constants: {one_line(error)}")
    return np.asarray(found)


def filling(operator: Operator) -> np.generic:
    """The number that a ConstantOfShape is of."""
    given = operator.attribute("value")
    return np.float32(0) if given is None else tensor_array(operator.building.path, given).reshape(-1)[0]


def _check_size(operator: Operator, arrays: Sequence[np.ndarray]) -> None:
    """Refuses constants that would be much larger than the file."""
    if operator.kind not in _BROADCASTING:
        return
    try:
        sizes = np.broadcast_shapes(*(array.shape for array in arrays))
    except ValueError as error:
        operator.refuse(f"has constants that do not go together: {one_line(error)}")
    if np.prod(sizes, dtype=float) > max(MOST, *(array.size for array in arrays)):
        operator.refuse(f"makes a constant of the shape {sizes}, which is too large")


def _constant(operator: Operator) -> np.ndarray:
    attributes = operator.attributes
    if len(attributes) != 1:
        operator.refuse("should have one value")
    name, value = next(iter(attributes.items()))
    if name == "value":
        return tensor_array(operator.building.path, value)
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    if name not in kinds:
        operator.refuse(f"has a {name}, which is not understood")
    return np.array(value, kinds[name])
