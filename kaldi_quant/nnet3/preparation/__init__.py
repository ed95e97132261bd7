"""nnet3 networks made ready for quantization."""
