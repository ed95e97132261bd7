"""Float networks in torch's files, which are read without executing anything in them (``weights_only``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import FormatError, ModelError

#: Beside it, others of a checkpoint's keys say what the network is and how it was made.
PARAMETERS_KEY = "state_dict"
# Classes beside torch's own that executing nothing makes: versions, which are text.
_PLAIN: list[Any] = [TorchVersion]
# So many names of each kind of difference are in a message.
_LISTED = 4


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
        with torch.serialization.safe_globals(_PLAIN):
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
        ModelError: they are those of another network, or not finite; lists what differs.
    """
    expected = network.state_dict()
    if differences := _differences(expected, parameters, what):
        raise ModelError(f"{path} is a checkpoint of another network: {'; '.join(differences)}")
    for name in expected:
        if not torch.isfinite(parameters[name]).all():
            raise ModelError(f"{path}: {name} has values that are not finite")
    network.load_state_dict(dict(parameters))


def _differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], what: str) -> list[str]:
    """How the names and shapes of parameters differ from those of a network; empty if they are the same."""
    differences = []
    if missing := [name for name in expected if name not in found]:
        differences.append(f"it has no {_some(missing)}, expected {what}")
    shapes = {name: (found[name].shape, value.shape) for name, value in expected.items() if name in found}
    if others := [
        f"{name} has the shape {tuple(one)}, expected {tuple(other)}"
        for name, (one, other) in shapes.items()
        if one != other
    ]:
        differences.append(f"its {_some(others)}")
    if unknown := [name for name in found if name not in expected]:
        differences.append(f"{what} has no {_some(unknown)}")
    return differences


def _some(texts: Sequence[str]) -> str:
    """The first ones, and how many there are beside them."""
    rest = len(texts) - _LISTED
    shown = ", ".join(texts[:_LISTED])
    return shown if rest <= 0 else f"{shown} and {rest} more"
