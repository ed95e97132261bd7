"""ONNX files of anybody's as networks of torch: each operator becomes a module or a function of torch."""
