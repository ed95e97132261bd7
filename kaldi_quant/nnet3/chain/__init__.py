"""LF-MMI: Kaldi's chain objective and its derivative, in torch."""
