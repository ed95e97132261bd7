"""The layers of torch networks whose products quantization is about; each file adds its own to ``FORMS``."""

from kaldi_quant.torchnn.forms import convolution, linear, transposed_convolution  # noqa: F401 - add themselves
from kaldi_quant.torchnn.forms.layer import FORMS, Layer

__all__ = ["FORMS", "Layer"]
