"""Products of two values that both depend on the input, in float."""

from __future__ import annotations

from kaldi_quant.backends.onnx.writer import Name
from kaldi_quant.torchnn.onnx.operation import Operation, adds


@adds("matmul", "bmm", "mm")
def matmul(operation: Operation) -> Name:
    """The product of matrices."""
    return operation.op("MatMul", [operation.x, operation.tensor(1, "other" if operation.name == "matmul" else "mat2")])
