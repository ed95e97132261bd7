"""Models read and written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kaldi_quant.api.networks import KaldiNetwork
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.errors import UsageError
from kaldi_quant.formats.artefact import Artefact
from kaldi_quant.formats.artefact import load as load_artefact
from kaldi_quant.formats.artefact import save as save_artefact
from kaldi_quant.formats.dequantized import write_dequantized
from kaldi_quant.formats.file_kind import is_artefact
from kaldi_quant.formats.onnx_qdq import write_onnx
from kaldi_quant.formats.record import make_record
from kaldi_quant.kaldi.companions import Companions
from kaldi_quant.kaldi.features.settings import RECORD_KEY, settings_of_folder
from kaldi_quant.kaldi.frame_subsampling import folder_of
from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.quant.divergence import divergence
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.onnx.file import write_onnx as write_torch_onnx


def load(path: str | os.PathLike[str]) -> Model | Artefact:
    """Reads a float model of Kaldi (``final.mdl``, or a raw nnet3 network), or an integer model that was saved.

    Raises:
        FormatError: the file is missing, truncated or malformed.
        ModelError: its network contradicts itself.
    """
    return load_artefact(path) if is_artefact(path) else read_model(path)


def save(quantized: Quantized, path: str | os.PathLike[str]) -> int:
    """Writes an integer model as one file, which ``load`` and all verbs of ``kaldi-quant`` read.

    Returns:
        the file's size in the file system, in bytes.

    Raises:
        UsageError: the network is one of torch.nn, for which there is no such file yet.
        DataError: the folder cannot be written.
    """
    origin = _kaldi(quantized, "save")
    model, lost = origin.model, divergence(quantized.network, quantized.calibration.some())
    companions = Companions.beside(model.path, origin.factor).as_record()
    record = make_record(quantized.network, quantized.config, quantized.preset, "", origin.factor, companions, lost)
    settings = settings_of_folder(folder_of(model.path)).for_dim(model.nnet.node_dim("input"))
    return save_artefact(path, quantized.network, model, {**record, RECORD_KEY: settings.as_dict()})


def export(quantized: Quantized, path: str | os.PathLike[str], **options: Any) -> Path:
    """Writes a form for other programs, by the file's suffix.

    Args:
        quantized: from ``quantize`` or ``qat``.
        path: ``.onnx``: operators between QuantizeLinear and DequantizeLinear; ``.mdl``: the quantized weights in a
            Kaldi model, activations in float.
        options: for ``.onnx`` those of ``write_onnx`` in ``formats.onnx_qdq`` or in ``torchnn.onnx.file``.

    Raises:
        UsageError: there is no form of that suffix.
        ModelError: the network has no such form; says why.
        DataError: the folder cannot be written.
    """
    suffix = Path(path).suffix
    if suffix not in (".onnx", ".mdl"):
        raise UsageError(f"{path}: expected a file that ends with .onnx or .mdl")
    if suffix == ".onnx" and isinstance(quantized.calibration, TensorData):
        example = quantized.calibration.units[0][1]
        return write_torch_onnx(quantized.network, path, example.args or dict(example.kwargs), **options).path
    origin = _kaldi(quantized, "a Kaldi model" if suffix == ".mdl" else "export")
    if suffix == ".onnx":
        return write_onnx(quantized.network, path, origin.factor, **options).path
    return write_dequantized(path, Artefact(quantized.network, origin.model, {}))


def _kaldi(quantized: Quantized, what: str) -> KaldiNetwork:
    if not isinstance(quantized.origin, KaldiNetwork):
        raise UsageError(f"{what}: a network of torch.nn cannot be written so; export() writes .onnx")
    return quantized.origin
