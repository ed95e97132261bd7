"""Models read and written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from kaldi_quant.api.networks import KaldiNetwork, TorchNetwork
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.errors import FormatError, UsageError
from kaldi_quant.formats.artefact import Artefact, TorchArtefact, load_any, save_torch
from kaldi_quant.formats.artefact import save as save_artefact
from kaldi_quant.formats.dequantized import write_dequantized
from kaldi_quant.formats.file_kind import is_artefact
from kaldi_quant.formats.onnx_qdq import write_onnx
from kaldi_quant.formats.record import make_record, make_torch_record, subsampling_in
from kaldi_quant.kaldi.companions import Companions
from kaldi_quant.kaldi.features.settings import RECORD_KEY, settings_of_folder, settings_of_record
from kaldi_quant.kaldi.frame_subsampling import folder_of
from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.quant.config import config_from_dict
from kaldi_quant.quant.divergence import divergence
from kaldi_quant.torchnn.host import TorchHost
from kaldi_quant.torchnn.onnx.file import write_onnx as write_torch_onnx
from kaldi_quant.torchnn.onnx_import.network import read_onnx_network

# Under these names the record of a torch network tells which of several outputs is meant, and what its rows hold.
_OUTPUT, _COLUMNS = "output", "columns"


def load(path: str | os.PathLike[str], network: nn.Module | None = None) -> Model | Quantized | nn.Module:
    """Reads a float model of Kaldi (``final.mdl``, or a raw nnet3 network), a float network of an ONNX file, or an
    integer model that was saved.

    An integer model is read without any other file. Nothing in a file is executed. ONNX files end with ``.onnx``.

    Args:
        path: of the file.
        network: the float network, where an integer model of ``torch.nn`` has code that cannot be traced and is no part
            of the file.

    Returns:
        A ``Model`` of Kaldi, a ``torch.nn.Module`` from ONNX (``read_onnx_network``), or a ``Quantized``.

    Raises:
        FormatError: the file is missing, truncated or malformed; or it is an ONNX file that is quantized already, or
            that has an operator which is not understood.
        ModelError: its network contradicts itself; or the float network is needed, or is another one.
    """
    if Path(path).suffix == ".onnx":
        return read_onnx_network(path)
    if not is_artefact(path):
        return read_model(path)
    found = load_any(path, network)
    record, where = found.record, os.fspath(path)
    config = config_from_dict(record.get("config", {}), f"{where}: its record")
    preset = record.get("preset")
    origin = _kaldi_origin(found, where) if isinstance(found, Artefact) else _torch_origin(found, where)
    return Quantized(found.network, origin, config, None, preset if isinstance(preset, str) else None, record)


def _kaldi_origin(found: Artefact, path: str) -> KaldiNetwork:
    settings = settings_of_record(found.record[RECORD_KEY], path) if RECORD_KEY in found.record else None
    return KaldiNetwork(found.model, subsampling_in(found.record, path), settings=settings)


def _torch_origin(found: TorchArtefact, path: str) -> TorchNetwork:
    output, columns = found.record.get(_OUTPUT), found.record.get(_COLUMNS, -1)
    if not isinstance(output, int | str | None) or not isinstance(columns, int):
        raise FormatError(path, None, f"its record names the output {output!r} and the axis {columns!r}")
    host = found.network.host
    return TorchNetwork(host.executable(), host.distance, output, columns)


def save(quantized: Quantized, path: str | os.PathLike[str], more: Mapping[str, Any] | None = None) -> int:
    """Writes an integer model as one file, which ``load`` reads, and of Kaldi's models all verbs of ``kaldi-quant``.

    A network of ``torch.nn`` is written as its traced graph. What of it cannot be traced is code, which no file holds:
    then ``load`` needs the float network, too.

    Args:
        quantized: from ``quantize``, ``qat`` or ``load``.
        path: of the file.
        more: what else its record tells, as JSON has it.

    Returns:
        the file's size in the file system, in bytes.

    Raises:
        ModelError: the network has parameters that are not finite, or a distance of outputs that is not known by name.
        DataError: the folder cannot be written.
    """
    network, origin = quantized.network, quantized.origin
    if isinstance(origin, KaldiNetwork):
        record = quantized.record or _kaldi_record(quantized, origin)
        return save_artefact(path, network, origin.model, {**record, **(more or {})})
    assert isinstance(origin, TorchNetwork)
    return save_torch(path, network, {**(quantized.record or _torch_record(quantized, origin)), **(more or {})})


def _kaldi_record(quantized: Quantized, origin: KaldiNetwork) -> dict[str, Any]:
    model, lost = origin.model, divergence(quantized.network, quantized.calibrated("save").some())
    companions = Companions.beside(model.path, origin.factor).as_record()
    record = make_record(quantized.network, quantized.config, quantized.preset, "", origin.factor, companions, lost)
    settings = origin.settings or settings_of_folder(folder_of(model.path)).for_dim(model.nnet.node_dim("input"))
    return {**record, RECORD_KEY: settings.as_dict(), **quantized.notes}


def _torch_record(quantized: Quantized, origin: TorchNetwork) -> dict[str, Any]:
    lost = divergence(quantized.network, quantized.calibrated("save").some())
    more = {_OUTPUT: origin.output, _COLUMNS: origin.columns, **quantized.notes}
    return make_torch_record(quantized.network, quantized.config, quantized.preset, lost, more)


def export(quantized: Quantized, path: str | os.PathLike[str], **options: Any) -> Path:
    """Writes a form for other programs, by the file's suffix.

    Args:
        quantized: from ``quantize``, ``qat`` or ``load``.
        path: ``.onnx``: operators between QuantizeLinear and DequantizeLinear; ``.mdl``: the quantized weights in a
            Kaldi model, activations in float.
        options: for ``.onnx`` those of ``write_onnx`` in ``formats.onnx_qdq`` or in ``torchnn.onnx.file``; the
            ``example`` there is by default that which the network was traced with.

    Raises:
        UsageError: there is no form of that suffix, or none for networks of torch.nn.
        ModelError: the network has no such form; says why.
        DataError: the folder cannot be written.
    """
    suffix, network, origin = Path(path).suffix, quantized.network, quantized.origin
    if suffix not in (".onnx", ".mdl"):
        raise UsageError(f"{path}: expected a file that ends with .onnx or .mdl")
    if isinstance(network.host, TorchHost):
        if suffix == ".mdl":
            raise UsageError(f"{path}: a network of torch.nn is no model of Kaldi; export() writes it as .onnx")
        call = network.host.example
        example = options.pop("example", call.args or dict(call.kwargs))
        return write_torch_onnx(network, path, example, **options).path
    assert isinstance(origin, KaldiNetwork)
    if suffix == ".onnx":
        return write_onnx(network, path, origin.factor, **options).path
    return write_dequantized(path, Artefact(network, origin.model, {}))
