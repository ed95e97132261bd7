"""kaldi_quant: makes the acoustic model of a Kaldi recogniser smaller and faster without losing words."""

__version__ = "0.2.0"
