"""Pairs of noisy and clean speech for enhancement, read or mixed on the fly, from folders of several layouts."""

from kaldi_quant.frontends.enhancement.data.layouts import LAYOUTS, read_enhancement
from kaldi_quant.frontends.enhancement.data.options import MixOptions
from kaldi_quant.frontends.enhancement.data.pairs import EnhancementSet, Pair, Pairs, TrainingSource
from kaldi_quant.frontends.enhancement.data.reading import ReadOptions

__all__ = [
    "LAYOUTS",
    "EnhancementSet",
    "MixOptions",
    "Pair",
    "Pairs",
    "ReadOptions",
    "TrainingSource",
    "read_enhancement",
]
