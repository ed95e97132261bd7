"""Float networks in files: their parameters, which network it is, and what made it; those of MBQAT are read, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from kaldi_quant.errors import FormatError, ModelError, UsageError
from kaldi_quant.frontends.checkpoints import (
    PARAMETERS_KEY,
    load_parameters,
    parameters_of,
    read_content,
    write_content,
)
from kaldi_quant.frontends.enhancement.networks.known import NETWORKS
from kaldi_quant.frontends.enhancement.training.ancestors import of_mbqat

_FORMAT = 1


@dataclass(frozen=True)
class FloatCheckpoint:
    """A float network.

    Args:
        name: of ``NETWORKS``.
        network: in test mode.
        made: how, as JSON has it.
        sizes: of the network, where they are not its own.
    """

    name: str
    network: nn.Module
    made: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, Any] = field(default_factory=dict)


def write_network(
    path: Path, name: str, network: nn.Module, made: Mapping[str, Any], sizes: Mapping[str, Any] | None = None
) -> None:
    """Writes a network.

    Args:
        path: of the file.
        name: of ``NETWORKS``.
        network: as that name and the sizes build it.
        made: how, as JSON has it.
        sizes: of the network, where they are not its own.

    Raises:
        DataError: the folder cannot be written.
        UsageError: there is no such network.
    """
    NETWORKS[name]
    content = {"format": _FORMAT, "network": name, "sizes": dict(sizes or {}), "made": dict(made)}
    write_content(path, {**content, PARAMETERS_KEY: network.state_dict()})


def read_network(path: str | Path) -> FloatCheckpoint:
    """Reads a network.

    Args:
        path: of a file as ``write_network`` or MBQAT's programs write it.

    Raises:
        FormatError: the file is missing, or no checkpoint.
        ModelError: it is one of another network; names the first parameter that differs.
    """
    path = Path(path)
    content = read_content(path)
    parameters = parameters_of(path, content)
    if "network" not in content:
        name, parameters = of_mbqat(path, parameters)
        content = {"network": name}
    name, sizes, made = content["network"], content.get("sizes", {}), content.get("made", {})
    if name not in NETWORKS:
        raise ModelError(f"{path} is a checkpoint of the network {name!r}, expected one of {', '.join(NETWORKS)}")
    if not isinstance(sizes, dict) or not isinstance(made, dict):
        raise FormatError(str(path), None, "its sizes or made are not what this program writes")
    try:
        network = NETWORKS[name].build(**sizes)
    except (TypeError, ValueError, RuntimeError, UsageError) as error:
        raise ModelError(f"{path}: the network {name} cannot be built with the sizes {sizes}: {error}") from error
    load_parameters(path, network, parameters, name)
    return FloatCheckpoint(name, network.eval(), made, sizes)
