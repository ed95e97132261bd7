"""Pieces of ONNX graphs that hold integers."""
