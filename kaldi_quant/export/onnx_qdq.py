"""A quantized network as an ONNX file: float operators between QuantizeLinear and DequantizeLinear (QDQ).

Runtimes fuse those into integer kernels; onnxruntime then gives the integers of the reference. One file takes any
number of sequences of any length; a second, for devices that need to know all sizes, one sequence of fixed length.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import ModelError
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.onnx_graph.builder import GraphOptions, OnnxNetwork, build_graph
from kaldi_quant.quant.onnx_graph.parameters import WeightForm
from kaldi_quant.quant.onnx_graph.session import optimized_graph

if TYPE_CHECKING:
    import onnx

_PRODUCTS = frozenset({"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"})


def write_onnx(
    network: QuantizedNetwork,
    path: str | os.PathLike[str],
    period: int = 1,
    outputs: int | None = None,
    form: WeightForm = "signed",
) -> OnnxNetwork:
    """Writes a network as ONNX, after a look at what onnxruntime makes of it.

    Args:
        network: the quantized network.
        path: the file.
        period: frames between outputs: the frame subsampling factor.
        outputs: rows of output, where the length is to be fixed; then the batch is one sequence.
        form: how weights are stored. ``signed`` is what devices run fastest; ``exact`` is right on x86 processors
            without VNNI too, where onnxruntime's kernels for signed 8-bit weights saturate.

    Returns:
        the graph and what its input must hold.

    Raises:
        ModelError: the network has no such form; says why. Or onnxruntime would run a quantized layer in float.
        MissingDependencyError: onnx or onnxruntime is not installed.
        DataError: the file cannot be written.
    """
    graph = build_graph(network, GraphOptions(period, form, outputs=outputs))
    check_integer(graph.model, optimized_graph(graph.model))
    with atomic_write(path) as stream:
        stream.write(graph.model.SerializeToString())
    return graph


def check_integer(model: onnx.ModelProto, optimized: onnx.ModelProto) -> None:
    """Checks that no quantized layer runs in float.

    Args:
        model: as it is written; layers that stay in float have float weights there.
        optimized: what onnxruntime makes of it.

    Raises:
        ModelError: a product of floats is left that is none of a float layer; names it.
    """
    from onnx import TensorProto

    float_weights = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1
    }
    for node in optimized.graph.node:
        if node.op_type in _PRODUCTS and not float_weights & set(node.input):
            raise ModelError(f"onnxruntime would run the quantized layer {node.name} in float, as {node.op_type}")
