"""What ``import kaldi_quant`` offers to those who write Python: the same functions for every kind of network."""
