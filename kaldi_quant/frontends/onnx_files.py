"""Keyword networks as ONNX: with any number of recordings in a batch, and with one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from kaldi_quant.api import files
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.backends.onnx.static_quantization import quantize_static
from kaldi_quant.quant.sensitivity import with_layers
from kaldi_quant.torchnn.calls import Inputs

DYNAMIC_NAME, FIXED_NAME = "network.onnx", "network_fixed.onnx"


def write_onnx_files(folder: Path, quantized: Quantized, example: Inputs) -> list[Path]:
    """Writes ``network.onnx``, whose batches have any size, and ``network_fixed.onnx``, for one recording.

    Args:
        folder: for both.
        quantized: the network.
        example: one recording, as the network is called with it.

    Raises:
        ModelError: the network has no such form.
        MissingDependencyError: onnx or onnxruntime is not installed.
    """
    dynamic, fixed = folder / DYNAMIC_NAME, folder / FIXED_NAME
    files.export(quantized, dynamic, example=example)
    files.export(quantized, fixed, example=example, dynamic_axes=False)
    return [dynamic, fixed]


def quantize_by_onnxruntime(float_folder: Path, folder: Path, waves: Sequence[Tensor], name: str = "waves") -> None:
    """Both files of a float network as onnxruntime's static quantization makes them.

    Args:
        float_folder: of the float network's files.
        folder: for both.
        waves: to calibrate on, (B, 1, T) each.
        name: of the input.

    Raises:
        DataError: the float network has no such files.
        MissingDependencyError: onnxruntime's quantization is not installed.
    """
    for file in (DYNAMIC_NAME, FIXED_NAME):
        # A file for one recording is calibrated on one after the other.
        parts = [part for batch in waves for part in (batch.split(1) if file == FIXED_NAME else [batch])]
        quantize_static(float_folder / file, folder / file, ({name: part.numpy()} for part in parts))


def in_float(quantized: Quantized) -> Quantized:
    """The float network that was quantized, normalizations folded, as what can be exported like any other."""
    return replace(quantized, network=with_layers(quantized.network, set()))


def onnx_content(quantized: Quantized) -> bytes:
    """The content of the ONNX file of a network."""
    with tempfile.TemporaryDirectory() as folder:
        return files.export(quantized, Path(folder) / DYNAMIC_NAME).read_bytes()
