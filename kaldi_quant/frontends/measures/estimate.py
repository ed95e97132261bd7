"""What a network will need on a device, told from its ONNX file alone: memory of weights and activations, products."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from kaldi_quant.api.quantization import Quantized
from kaldi_quant.backends.onnx.reading import read_whole_model
from kaldi_quant.frontends.measures.graph_values import Shapes, graph_values, values_within
from kaldi_quant.frontends.measures.liveness import Peak, peak_of_activations
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.torchnn.host import TorchSource
from kaldi_quant.torchnn.onnx.file import onnx_graph
from kaldi_quant.torchnn.onnx_import.naming import path_of_node
from kaldi_quant.units import Bits, Bytes

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Estimate:
    """Of a network for inputs of one size.

    Args:
        weights: the bytes of constants of the file by the width of their numbers: weights of 8 bits or of 32, biases of
            32; scales and zero points with them; not the whole numbers that shapes are told by.
        activations: the most memory that values take at once, inputs and outputs included.
        operations: multiply-accumulates by layer, in the order of the graph.
    """

    weights: dict[Bits, Bytes]
    activations: Peak
    operations: dict[str, int]

    @property
    def weight_bytes(self) -> Bytes:
        """Of all widths together."""
        return sum(self.weights.values())

    @property
    def multiply_accumulates(self) -> int:
        """Of all layers together."""
        return sum(self.operations.values())


def estimate(network: str | os.PathLike[str] | Quantized | nn.Module, shapes: Shapes | None = None) -> Estimate:
    """Estimates what a network needs, without a device.

    Args:
        network: an ONNX file in float, or quantized with QuantizeLinear and DequantizeLinear; or a network, which is
            told from the file that would be written of it: quantized, or a module in float.
        shapes: of inputs by name; those of the file may be left out where it tells all of their sizes.

    Raises:
        FormatError: the file is missing, truncated or no ONNX model.
        UsageError: sizes are missing, or not those of the network.
        DataError: it cannot be run on inputs of these sizes.

    Example:
        >>> found = estimate("quantized_model_int8_static.onnx")
        >>> found.weights, found.activations.bytes, found.multiply_accumulates
        >>> estimate("network.onnx", {"input": (1, 257, 40)}).operations
    """
    given = shapes or {}
    if isinstance(network, Quantized | nn.Module):
        path, model = type(network).__name__, _written(network, given)
    else:
        path, model = os.fspath(network), read_whole_model(network)
    values = graph_values(path, model, given)
    operations: dict[str, int] = {}
    for name, count in _operations(path, model, model.graph, values):
        operations[name] = operations.get(name, 0) + count
    return Estimate(_weights(model, values), peak_of_activations(model.graph, values), operations)


def _written(network: Quantized | nn.Module, shapes: Shapes) -> onnx.ModelProto:
    """The file that would be written of a network for inputs of these sizes."""
    example = {name: torch.zeros(*sizes) for name, sizes in shapes.items()}
    if isinstance(network, nn.Module):
        host = TorchSource(network, example).prepare(fold=True).complete()
        return onnx_graph(QuantizedNetwork(host, {}, {}, {}), example, dynamic_axes=False).model
    return onnx_graph(network.network, example, dynamic_axes=False).model


def _weights(model: onnx.ModelProto, values: Mapping[str, np.ndarray]) -> dict[Bits, Bytes]:
    from onnx import TensorProto

    narrow = {TensorProto.INT4: 4, TensorProto.UINT4: 4}
    found: dict[Bits, Bytes] = {}
    for tensor in model.graph.initializer:
        size, kind = values[tensor.name].size, values[tensor.name].dtype
        bits = narrow.get(tensor.data_type, 8 * kind.itemsize)
        if tensor.data_type not in (TensorProto.INT64, TensorProto.BOOL):
            found[bits] = found.get(bits, 0) + -(-size * bits // 8)
    return dict(sorted(found.items()))


def _operations(
    path: str, model: onnx.ModelProto, graph: onnx.GraphProto, values: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, int]]:
    sources = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    for node in graph.node:
        if node.op_type in _PRODUCTS:
            sizes = [values[name].shape if name else () for name in node.input]
            yield (
                _layer(node, sources.get(node.input[1], node.input[1])),
                _PRODUCTS[node.op_type](sizes, values[node.output[0]].shape, node),
            )
        elif node.op_type == "Scan":
            inner, times = values_within(path, model, node, values)
            body = next(each.g for each in node.attribute if each.name == "body")
            for name, count in _operations(path, model, body, inner):
                yield name, times * count


def _layer(node: onnx.NodeProto, weight: str) -> str:
    """What a layer is called: as its weight, if that tells it, or as its node."""
    return path_of_node(node, [weight.removesuffix("_quantized").removesuffix(".integers")])


Sizes = list[tuple[int, ...]]


def _of_convolution(given: Sizes, result: tuple[int, ...], node: onnx.NodeProto) -> int:
    """weight: (out, in / groups, *kernel)."""
    return math.prod(result) * math.prod(given[1][1:])


def _of_transposed_convolution(given: Sizes, result: tuple[int, ...], node: onnx.NodeProto) -> int:
    """weight: (in, out / groups, *kernel)."""
    return math.prod(given[0]) * math.prod(given[1][1:])


def _of_matrices(given: Sizes, result: tuple[int, ...], node: onnx.NodeProto) -> int:
    transposed = any(each.name == "transA" and each.i for each in node.attribute)
    return math.prod(result) * given[0][-2 if transposed else -1]


def _of_recurrence(given: Sizes, result: tuple[int, ...], node: onnx.NodeProto) -> int:
    """x: (T, N, in); weights: (directions, gates * size, in) and (..., size)."""
    return given[0][0] * given[0][1] * (math.prod(given[1]) + math.prod(given[2]))


_PRODUCTS: dict[str, Callable[..., int]] = {
    **dict.fromkeys(("Conv", "ConvInteger"), _of_convolution),
    "ConvTranspose": _of_transposed_convolution,
    **dict.fromkeys(("MatMul", "MatMulInteger", "Gemm"), _of_matrices),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _of_recurrence),
}
