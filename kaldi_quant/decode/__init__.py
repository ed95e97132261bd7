"""Log-likelihoods to lattices to words and word error rates, with Kaldi's programs or with wheels from PyPI."""
