"""Mixtures and their sources for separation, read or made on the fly, from folders of several layouts."""

from kaldi_quant.frontends.separation.data.augmentations import AUGMENTATIONS, augmentations
from kaldi_quant.frontends.separation.data.batches import TrainingBatches, held_out_batches
from kaldi_quant.frontends.separation.data.layouts import BAND, LAYOUTS, open_separation_data
from kaldi_quant.frontends.separation.data.mixtures import Mixture, Mixtures, SeparationSet, TrainingSource
from kaldi_quant.frontends.separation.data.options import TASKS, ReadOptions

__all__ = [
    "AUGMENTATIONS",
    "BAND",
    "LAYOUTS",
    "TASKS",
    "Mixture",
    "Mixtures",
    "ReadOptions",
    "SeparationSet",
    "TrainingBatches",
    "TrainingSource",
    "augmentations",
    "held_out_batches",
    "open_separation_data",
]
