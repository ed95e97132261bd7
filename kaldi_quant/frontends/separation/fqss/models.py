"""``best_model.pth`` and its like: float networks by their parameters, quantized ones as the integer model's file."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.api import files
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.errors import FormatError, ModelError, UsageError
from kaldi_quant.formats.file_kind import is_artefact
from kaldi_quant.frontends.checkpoints import load_parameters, read_content, write_content
from kaldi_quant.frontends.separation.fqss.systems import Chosen
from kaldi_quant.frontends.separation.networks.known import NETWORKS
from kaldi_quant.frontends.separation.networks.pretrained import load_pretrained
from kaldi_quant.frontends.separation.separators import RECORD_KEY
from kaldi_quant.frontends.separation.training.checkpoint import read_network, write_network

#: Of a quantized network: the bytes of the file that ``kaldi_quant.save`` writes.
_INTEGERS_KEY = "integer_model"
_FORMAT = 1


@dataclass(frozen=True)
class Model:
    """A network that was read.

    Args:
        path: of its file.
        network: computes it, (N, C, T) to (N, S, C, T): in float, or the integer reference.
        quantized: it in integers; None of one in float.
    """

    path: Path
    network: nn.Module
    quantized: Quantized | None = None


def write_float(path: Path, chosen: Chosen, network: nn.Module, made: dict[str, Any]) -> None:
    """Writes a float network.

    Raises:
        DataError: the folder cannot be written.
    """
    write_network(path, chosen.name, network, made, chosen.sizes)


def integer_file(quantized: Quantized, chosen: Chosen, made: dict[str, Any]) -> bytes:
    """The content of the integer model's file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.safetensors"
        files.save(quantized, path, {RECORD_KEY: {"network": chosen.name, "sizes": chosen.sizes, **made}})
        return path.read_bytes()


def write_quantized(path: Path, chosen: Chosen, content: bytes) -> None:
    """Writes a quantized network as a file of torch.

    Args:
        path: of the file.
        chosen: which network it is.
        content: of the integer model's file.

    Raises:
        DataError: the folder cannot be written.
    """
    integers = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    about = {"format": _FORMAT, "network": chosen.name, "sizes": chosen.sizes}
    write_content(path, {**about, _INTEGERS_KEY: integers})


def read_model(path: str, chosen: Chosen, key: str) -> Model:
    """Reads a network, told by the file's content.

    Args:
        path: of ``best_model.pth``, of an integer model, or of a float checkpoint.
        chosen: which network is expected.
        key: that names the path, for messages.

    Raises:
        UsageError: no path is given.
        FormatError, ModelError: the file is missing or broken, or holds another network.
    """
    if not path:
        raise UsageError(f"{key} is missing: give the file of a network, such as best_model.pth of a training")
    place = Path(path)
    if place.is_file() and is_artefact(path):
        return _quantized(place, place, chosen)
    content = read_content(place)
    integers = content.get(_INTEGERS_KEY)
    if integers is not None:
        _check_name(place, str(content.get("network", "")), content.get("sizes", {}), chosen)
        if not isinstance(integers, Tensor) or integers.dtype != torch.uint8:
            raise FormatError(str(place), None, f"expected the bytes of a file under {_INTEGERS_KEY}")
        with tempfile.TemporaryDirectory() as folder:
            unpacked = Path(folder) / "network.safetensors"
            unpacked.write_bytes(integers.numpy().tobytes())
            return _quantized(place, unpacked, chosen)
    return Model(place, read_float(path, chosen, key))


def read_float(path: str, chosen: Chosen, key: str) -> nn.Module:
    """Reads a float network: of this project, or of another program, as ``load_pretrained`` knows them.

    Arguments and errors are those of ``read_model``.
    """
    if not path:
        raise UsageError(f"{key} is missing: give the file of a float network")
    place, network = Path(path), chosen.kind.build()
    if _names_its_network(place):
        found = read_network(place)
        _check_name(place, found.name, found.sizes, chosen)
        # Of the sizes that settings ask for.
        load_parameters(place, network, found.network.state_dict(), chosen.name)
    else:
        load_pretrained(chosen.name, network, place)
    return network.eval()


def _names_its_network(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        content = read_content(path)
    except FormatError:
        return False
    if _INTEGERS_KEY in content:
        raise ModelError(f"{path} is a quantized network: expected one in float")
    return "network" in content


def _quantized(path: Path, file: Path, chosen: Chosen) -> Model:
    found = files.load(file)
    if not isinstance(found, Quantized):
        raise ModelError(f"{path} is a model of Kaldi, expected a network that separates sources")
    name = str((found.record or {}).get(RECORD_KEY, {}).get("network", chosen.name))
    if name != chosen.name:
        raise ModelError(f"{path} holds the network {name}, expected {chosen.name}")
    return Model(path, found.network.model(), found)


def _check_name(path: Path, name: str, sizes: Any, chosen: Chosen) -> None:
    if name != chosen.name:
        raise ModelError(f"{path} holds the network {name}, expected {chosen.name}")
    usual = len(NETWORKS[chosen.name].sources)
    count = sizes.get("sources", usual) if isinstance(sizes, dict) else 0
    if count != len(chosen.kind.sources):
        raise ModelError(f"{path} separates {count} sources, expected {len(chosen.kind.sources)}")
