"""How the networks of a table are quantized."""

FLOAT, PTQ, QAT, AWQ = "fp32", "ptq", "qat", "awq"
#: Quantization by others, after training: onnxruntime's static one, and PyTorch's dynamic one.
ONNXRUNTIME, TORCH = "onnxruntime", "torch"
