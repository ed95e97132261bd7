"""The kinds of quantized layers, and which of them a configuration asks for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from kaldi_quant.quant.groupwise_linear import GroupwiseLinear
from kaldi_quant.quant.integer_linear import DynamicLinear, InputGrid, IntegerLinear
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.scale_groups import count_groups
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.quant.weight_only import WeightOnlyLinear
from kaldi_quant.units import FLOAT_BITS

QuantizedLayer = IntegerLinear | GroupwiseLinear | DynamicLinear | WeightOnlyLinear


def build_layer(
    weight: QuantizedWeight,
    bias: np.ndarray | Tensor,
    inputs: InputGrid | None,
    dynamic: QSpec | None,
    factor: Tensor | None = None,
) -> QuantizedLayer:
    """A layer from its integers.

    Args:
        weight: for the input's integers, or for a float input.
        bias: (out,) float64, of the layer as it is with these weights.
        inputs: the grids of the input, where they are known beforehand.
        dynamic: the width of an input whose grid is found anew. Without either the input stays in float.
        factor: of columns, where the input does (``WeightOnlyLinear``).

    Raises:
        UsageError: the widths would overflow 32-bit accumulators.
    """
    if inputs is not None:
        kind = GroupwiseLinear if weight.is_groupwise else IntegerLinear
        return kind.build(weight, bias, inputs)
    if dynamic is not None:
        return DynamicLinear.build(weight, bias, dynamic)
    return WeightOnlyLinear.build(weight, bias, factor)


def assembled(
    weight: QuantizedWeight,
    bias: Tensor,
    inputs: InputGrid | None,
    dynamic: QSpec | None,
    factor: Tensor | None = None,
) -> QuantizedLayer:
    """A layer that was built before; bias: (out,), its own: int32 or float32. Other arguments as of ``build_layer``."""
    if inputs is not None:
        return (GroupwiseLinear if weight.is_groupwise else IntegerLinear)(weight, bias, inputs)
    return WeightOnlyLinear(weight, bias, factor) if dynamic is None else DynamicLinear(weight, bias, dynamic)


def dynamic_spec(layer: QuantizedLayer) -> QSpec | None:
    """The width of a layer's input if its grid is found anew."""
    return layer.spec if isinstance(layer, DynamicLinear) else None


def factor_of(layer: QuantizedLayer) -> Tensor | None:
    """(in,): what columns were multiplied by before they were quantized, for an input in float."""
    return layer.factor if isinstance(layer, WeightOnlyLinear) else None


def bits_beside(layer: QuantizedLayer, spec: QSpec) -> int:
    """The bits of scales and zero points of groups of columns, and of columns' factors.

    Those of rows with one scale do not count. spec: a grid, instead of the layer's own.
    """
    factor, (rows, columns) = factor_of(layer), layer.weight.integers.shape
    bits = 0 if factor is None else FLOAT_BITS * factor.numel()
    if spec.group_size:
        bits += rows * count_groups(columns, spec.group_size) * (FLOAT_BITS + (0 if spec.symmetric else spec.bits))
    return bits


def static_layers(layers: Mapping[str, QuantizedLayer]) -> list[str]:
    """Those that read integers of grids that are known beforehand."""
    return [name for name, layer in layers.items() if isinstance(layer, IntegerLinear | GroupwiseLinear)]


def weights_only(layers: Mapping[str, QuantizedLayer]) -> list[str]:
    """Those whose weights alone are integers."""
    return [name for name, layer in layers.items() if isinstance(layer, WeightOnlyLinear)]
