"""Operations on two values, in float."""

from __future__ import annotations

from kaldi_quant.backends.onnx.writer import Name
from kaldi_quant.torchnn.onnx.operation import Emitter, Operation, adds
from kaldi_quant.torchnn.onnx.values import Value


def _binary(kind: str) -> Emitter:
    def emit(operation: Operation) -> Name:
        return operation.op(kind, [_operand(operation, 0, "input"), _operand(operation, 1, "other")])

    return emit


def _operand(operation: Operation, place: int, name: str) -> Name:
    found = operation.argument(place, name)
    if not isinstance(found, Value | int | float):
        operation.refuse("has no ONNX form with a number that depends on the sizes of the input")
    return operation.named(found)


for _function, _kind in {
    "mul": "Mul",
    "multiply": "Mul",
    "pow": "Pow",
    "maximum": "Max",
    "minimum": "Min",
}.items():
    adds(_function)(_binary(_kind))


@adds("add", "sub", "subtract", "rsub")
def add(operation: Operation) -> Name:
    """One and a multiple of the other."""
    one, other = _operand(operation, 0, "input"), _operand(operation, 1, "other")
    factor = operation.argument(2, "alpha", 1)
    if operation.name == "rsub":
        one, other = other, one
    if factor != 1:
        other = operation.op("Mul", [other, factor])
    return operation.op("Add" if operation.name == "add" else "Sub", [one, other])


@adds("div", "truediv", "true_divide")
def divide(operation: Operation) -> Name:
    """One by the other."""
    if operation.kwargs.get("rounding_mode") is not None:
        operation.refuse("has no ONNX form with a rounding mode")
    return operation.op("Div", [_operand(operation, 0, "input"), _operand(operation, 1, "other")])


@adds("square")
def square(operation: Operation) -> Name:
    """x x."""
    return operation.op("Mul", [operation.x, operation.x])


@adds("rsqrt")
def rsqrt(operation: Operation) -> Name:
    """1 / sqrt(x)."""
    return operation.op("Div", [1.0, operation.op("Sqrt", [operation.x])])


@adds("ChannelOffset")
def channel_offset(operation: Operation) -> Name:
    """What remains of a BatchNorm whose scale has been folded."""
    assert operation.module is not None
    offset = operation.module.get_buffer("offset").float().numpy()
    shape = (-1, *[1] * (len(operation.before) - 2))
    return operation.op("Add", [operation.x, operation.writer.constant(offset.reshape(shape))])
