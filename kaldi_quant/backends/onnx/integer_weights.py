"""Whether onnxruntime multiplies the integers of quantized layers, or makes floats of them first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaldi_quant.errors import ModelError

if TYPE_CHECKING:
    import onnx


def check_integer(model: onnx.ModelProto, optimized: onnx.ModelProto) -> None:
    """Checks that no quantized layer runs in float.

    Args:
        model: as it is written.
        optimized: what onnxruntime makes of it.

    Raises:
        ModelError: some integer weights are made floats before they are multiplied; names the operator that does it.
    """
    weights = _integer_weights(optimized)
    floats = {
        node.output[0]
        for node in optimized.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in weights
    }
    for node in optimized.graph.node:
        if floats & set(node.input):
            raise ModelError(f"onnxruntime would run the quantized layer {node.name} in float, as {node.op_type}")
    lost = len(_integer_weights(model)) - len(weights)
    if lost > 0:
        raise ModelError(f"onnxruntime would run {lost} quantized layers in float")


def _integer_weights(model: onnx.ModelProto) -> set[str]:
    """The names of the matrices of 8-bit integers."""
    from onnx import TensorProto

    kinds = (TensorProto.INT8, TensorProto.UINT8)
    return {t.name for t in model.graph.initializer if t.data_type in kinds and len(t.dims) > 1}
