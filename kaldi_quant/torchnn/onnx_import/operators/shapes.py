"""Sizes of tensors, and tensors of one number."""

from __future__ import annotations

import numpy as np

from kaldi_quant.torchnn.onnx_import.folding import filling
from kaldi_quant.torchnn.onnx_import.operator import Operator, Result, adds
from kaldi_quant.torchnn.onnx_import.sizes import sizes_of
from kaldi_quant.torchnn.onnx_import.values import Filled, Number, numbers


@adds("Shape")
def shape(operator: Operator) -> np.ndarray:
    """How long the axes are."""
    found = operator.value(0)
    sizes: list[Number] = []
    if isinstance(found, Filled):
        sizes = list(found.sizes)
    elif isinstance(found, np.ndarray):
        sizes = list(found.shape)
    else:
        sizes = sizes_of(operator, found)
    chosen = sizes[slice(operator.attribute("start", 0), operator.attribute("end"))]
    return numbers(chosen, (len(chosen),))


@adds("ConstantOfShape")
def constant_of_shape(operator: Operator) -> Result:
    """One number everywhere."""
    return Filled(filling(operator), tuple(operator.sizes(0, "a shape")))
