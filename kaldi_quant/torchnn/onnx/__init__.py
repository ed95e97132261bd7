"""Quantized networks of ``torch.nn`` as ONNX graphs."""
