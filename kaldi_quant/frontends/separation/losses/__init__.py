"""What training minimises between separated signals and sources, and signals of a float network."""

from kaldi_quant.frontends.separation.losses.distillation import Distillation
from kaldi_quant.frontends.separation.losses.known import LOSSES, loss_of

__all__ = ["LOSSES", "Distillation", "loss_of"]
