"""Quantized networks on the integer kernels of onnxruntime, checked against the reference before they are trusted."""

from kaldi_quant.nnet3.execution.choice import EXECUTIONS, Execution, executable
from kaldi_quant.nnet3.execution.network import OnnxruntimeNetwork

__all__ = ["EXECUTIONS", "Execution", "OnnxruntimeNetwork", "executable"]
