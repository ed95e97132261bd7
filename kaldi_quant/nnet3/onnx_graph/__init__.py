"""A quantized network as an ONNX graph: standard operators between QuantizeLinear and DequantizeLinear (QDQ)."""
