"""Float networks in torch's files, which are read without executing anything in them (``weights_only``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import FormatError, ModelError

#: Beside it, others of a checkpoint's keys say what the network is and how it was made.
PARAMETERS_KEY = "state_dict"


def write_content(path: Path, content: Mapping[str, Any]) -> None:
    """Writes what ``read_content`` gives.

    Raises:
        DataError: the folder cannot be written.
    """
    with atomic_write(path) as stream:
        torch.save(dict(content), stream)


def write_parameters(path: Path, network: nn.Module) -> None:
    """Writes what another program's quantization has made of a network, for its size and for torch.

    Raises:
        DataError: the file cannot be written.
    """
    with atomic_write(path) as stream:
        torch.save(network.state_dict(), stream)


def read_content(path: Path) -> dict[str, Any]:
    """What a checkpoint holds.

    Raises:
        FormatError: the file is missing, or torch cannot read it without executing it.
    """
    if not path.is_file():
        raise FormatError(str(path), None, "there is no such file: expected a checkpoint of a float network")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise FormatError(str(path), None, "it is no checkpoint that torch can read without executing it") from error
    if not isinstance(content, dict):
        raise FormatError(str(path), None, f"expected parameters by name, found {type(content).__name__}")
    return content


def parameters_of(path: Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The parameters of a checkpoint, by name; the content may be these alone.

    Raises:
        FormatError: it holds other things in their place.
    """
    parameters = content.get(PARAMETERS_KEY, content)
    if not isinstance(parameters, dict) or not all(isinstance(value, Tensor) for value in parameters.values()):
        raise FormatError(str(path), None, "expected the parameters of a network by name, found other things")
    return {str(name): value for name, value in parameters.items()}


def load_parameters(path: Path, network: nn.Module, parameters: Mapping[str, Tensor], what: str) -> None:
    """Gives a network its parameters.

    Args:
        path: of the file, for messages.
        network: is changed.
        parameters: all of its own, and no others.
        what: the network is, for messages.

    Raises:
        ModelError: they are those of another network, or not finite; names the first that differs.
    """
    expected = network.state_dict()
    for name, value in expected.items():
        if name not in parameters:
            raise ModelError(f"{path} is a checkpoint of another network: it has no {name}, expected {what}")
        found = parameters[name]
        if value.shape != found.shape:
            shapes = f"{tuple(found.shape)}, expected {tuple(value.shape)}"
            raise ModelError(f"{path} is a checkpoint of another network: its {name} has the shape {shapes}")
        if not torch.isfinite(found).all():
            raise ModelError(f"{path}: {name} has values that are not finite")
    for name in parameters:
        if name not in expected:
            raise ModelError(f"{path} is a checkpoint of another network: {what} has no {name}")
    network.load_state_dict(dict(parameters))
