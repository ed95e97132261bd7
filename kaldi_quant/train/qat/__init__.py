"""Quantization-aware training: fake quantization on the grids of post-training quantization, with learned scales."""
