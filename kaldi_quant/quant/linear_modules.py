"""The modules of linear components in a network that runs; the product of each can be replaced."""

from torch import Tensor

from kaldi_quant.nnet3.components.affine import Affine, Tdnn
from kaldi_quant.nnet3.components.convolution import TimeHeightConvolution
from kaldi_quant.nnet3.model import AcousticModel

LinearModule = Affine | Tdnn | TimeHeightConvolution


def linear_module(model: AcousticModel, name: str) -> LinearModule:
    """The module of a linear component."""
    module = model.component(name)
    assert isinstance(module, LinearModule)
    return module


def bias_of(module: LinearModule) -> Tensor:
    """(out,): the bias, without gradient; zeros where the component has none."""
    return module.weight.new_zeros(len(module.weight)) if module.bias is None else module.bias.detach()
