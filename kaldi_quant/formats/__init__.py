"""Quantized networks as files that can be deployed."""
