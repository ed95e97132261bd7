"""Quantized torch networks on integer kernels that are compiled where they run."""
