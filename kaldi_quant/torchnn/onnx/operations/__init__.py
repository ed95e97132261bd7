"""Operations of torch networks as ONNX operators; each file adds its own to ``EMITTERS``."""

from kaldi_quant.torchnn.onnx.operation import EMITTERS
from kaldi_quant.torchnn.onnx.operations import (  # noqa: F401 - add themselves
    activations,
    arithmetic,
    joins,
    masks,
    maxima,
    normalizations,
    padding,
    pooling,
    products,
    reductions,
    repetitions,
    reshapes,
    slices,
)

__all__ = ["EMITTERS"]
