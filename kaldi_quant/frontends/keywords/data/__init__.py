"""Recordings of keywords: folders of several layouts, and batches of waves."""

from kaldi_quant.frontends.keywords.data.batches import Batch, Batches, load_batches
from kaldi_quant.frontends.keywords.data.keyword_set import KeywordSet, Recording
from kaldi_quant.frontends.keywords.data.layouts import LAYOUTS, read_keywords

__all__ = ["LAYOUTS", "Batch", "Batches", "KeywordSet", "Recording", "load_batches", "read_keywords"]
