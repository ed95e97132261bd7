"""nnet3 components as torch modules in test mode, one class per behaviour."""

from kaldi_quant.nnet3.components import affine, attention, convolution, elementwise, nonlinear, recurrent, statistics
from kaldi_quant.nnet3.components.base import ComponentModule, FrameComponent, Registry

__all__ = [
    "ComponentModule",
    "FrameComponent",
    "Registry",
    "affine",
    "attention",
    "convolution",
    "elementwise",
    "nonlinear",
    "recurrent",
    "statistics",
]
