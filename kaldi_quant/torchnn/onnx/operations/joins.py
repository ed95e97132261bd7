"""Values side by side."""

from __future__ import annotations

from kaldi_quant.backends.onnx.writer import Name
from kaldi_quant.torchnn.onnx.operation import Operation, adds


def _parts(operation: Operation) -> list[Name]:
    return [operation.named(one) for one in operation.argument(0, "tensors")]


@adds("cat", "concat", "concatenate")
def cat(operation: Operation) -> Name:
    """Along an axis."""
    axis = operation.argument(1, "dim", operation.kwargs.get("axis", 0)) % len(operation.after)
    return operation.op("Concat", _parts(operation), axis=axis)


@adds("stack")
def stack(operation: Operation) -> Name:
    """Along a new axis."""
    axis = operation.argument(1, "dim", 0) % len(operation.after)
    parts = [operation.op("Unsqueeze", [part, operation.writer.integers(axis)]) for part in _parts(operation)]
    return operation.op("Concat", parts, axis=axis)


@adds("hstack", "vstack", "dstack")
def stacked(operation: Operation) -> Name:
    """As numpy's functions of these names; of values that have the axis already."""
    axis = {"hstack": 1, "vstack": 0, "dstack": 2}[operation.name]
    first = operation.argument(0, "tensors")
    rank = len(operation.known.values[operation.node.args[0][0]].shape) if first else 0  # type: ignore[index]
    if rank <= max(axis, 1):
        operation.refuse(f"has an ONNX form for values of {max(axis, 1) + 1} axes or more")
    return operation.op("Concat", _parts(operation), axis=axis)
