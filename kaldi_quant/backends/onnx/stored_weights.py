"""Weights that are stored as integers and multiplied as floats: behind DequantizeLinear, four bits in four.

What reads them is a Gemm or a Conv. In the place of a MatMul onnxruntime 1.31 puts kernels of its own
(``MatMulNBits``), which round the input, too, to 8 bits by default.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from kaldi_quant.backends.onnx.writer import OPSET, GraphWriter, Name
from kaldi_quant.quant.groupwise_linear import GroupwiseLinear
from kaldi_quant.quant.quantized_layer import QuantizedLayer
from kaldi_quant.quant.weight_only import WeightOnlyLinear

# It brought integers of 4 bits, and scales of blocks.
_STORED_OPSET = 21

_NARROW, _BYTE = 4, 8

#: Layers of these kinds are written so.
FloatProduct = WeightOnlyLinear | GroupwiseLinear


def writer_for(layers: Iterable[QuantizedLayer]) -> GraphWriter:
    """An empty graph, of a newer operator set where some layers multiply floats by weights stored as integers."""
    return GraphWriter(_STORED_OPSET if any(isinstance(layer, FloatProduct) for layer in layers) else OPSET)


def stored_rows(writer: GraphWriter, name: Name, layer: FloatProduct) -> Name:
    """Adds the weight of a layer, as it is stored, to a graph; returns the name of its float value, (out, in)."""
    weight = layer.weight
    integers, zeros = weight.integers.numpy(), weight.zero_point.numpy()
    scale: Any = weight.scale.numpy()
    place: dict[str, int] = {"axis": 0}
    if scale.shape[1] > 1:
        place = {"axis": 1, "block_size": weight.spec.group_size}
    else:
        scale, zeros = scale[:, 0], zeros[:, 0]
    constants = [
        _integers(writer, integers, weight.spec.bits, f"{name}.weight.integers"),
        writer.constant(scale, f"{name}.weight.scale"),
    ]
    if zeros.any():
        constants.append(_integers(writer, zeros, weight.spec.bits, f"{name}.weight.zero_point"))
    rows = writer.op("DequantizeLinear", constants, f"{name}.weight", **place)
    factor = (
        layer.folded.float().numpy() if isinstance(layer, WeightOnlyLinear) else layer.inputs.folded.float().numpy()
    )
    return writer.op("Div", [rows, writer.constant(factor)]) if (factor != 1).any() else rows


def _integers(writer: GraphWriter, values: np.ndarray, bits: int, hint: Name) -> Name:
    if bits == _NARROW:
        return writer.narrow_constant(values, hint)
    return writer.constant(values.astype(np.int8 if bits <= _BYTE else np.int16), hint)
