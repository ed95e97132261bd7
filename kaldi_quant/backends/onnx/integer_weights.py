"""Whether onnxruntime multiplies the integers of quantized layers, or makes floats of them first."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from kaldi_quant.errors import ModelError

if TYPE_CHECKING:
    import onnx


def check_integer(model: onnx.ModelProto, optimized: onnx.ModelProto, in_float: Collection[str] = ()) -> None:
    """Checks that no layer that multiplies integers runs in float.

    Args:
        model: as it is written.
        optimized: what onnxruntime makes of it.
        in_float: the layers that multiply floats, though their weights are stored as integers.

    Raises:
        ModelError: some integer weights are made floats before they are multiplied; names the operator that does it.
    """
    stored = {f"{name}.weight.integers" for name in in_float} | {f"{name}.weight.zero_point" for name in in_float}
    weights = _integer_weights(optimized) - stored
    nodes = [node for graph in graphs_of(optimized) for node in graph.node]
    floats = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear" and node.input[0] in weights}
    for node in nodes:
        if floats & set(node.input):
            raise ModelError(f"onnxruntime would run the quantized layer {node.name} in float, as {node.op_type}")
    lost = len(_integer_weights(model) - stored) - len(weights)
    if lost > 0:
        raise ModelError(f"onnxruntime would run {lost} quantized layers in float")


def graphs_of(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The graph of a model, and those within it, such as the bodies of loops."""
    pending = [model.graph]
    while pending:
        graph = pending.pop(0)
        yield graph
        pending += [
            inner
            for node in graph.node
            for attribute in node.attribute
            for inner in ([attribute.g] if attribute.HasField("g") else attribute.graphs)
        ]


def _integer_weights(model: onnx.ModelProto) -> set[str]:
    """The names of the matrices of 8-bit integers."""
    from onnx import TensorProto

    kinds = (TensorProto.INT8, TensorProto.UINT8)
    constants = [each for graph in graphs_of(model) for each in graph.initializer]
    return {each.name for each in constants if each.data_type in kinds and len(each.dims) > 1}
