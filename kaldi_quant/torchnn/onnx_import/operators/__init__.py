"""What is made of ONNX's operators; each file adds its own to ``OPERATORS``."""

from kaldi_quant.torchnn.onnx_import.operators import (  # noqa: F401 - add themselves
    activations,
    arithmetic,
    convolutions,
    normalizations,
    padding,
    pooling,
    products,
    recurrent,
    reductions,
    reshapes,
    shapes,
    slices,
)
