"""Float networks in files: their parameters, which network it is, and what made it; those of MBQAT are read, too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from kaldi_quant.frontends.checkpoints import parameters_of, read_content
from kaldi_quant.frontends.enhancement.networks.known import NETWORKS
from kaldi_quant.frontends.enhancement.training.ancestors import of_mbqat
from kaldi_quant.frontends.training.networks import FloatCheckpoint, named_network, write_named


def write_network(
    path: Path, name: str, network: nn.Module, made: Mapping[str, Any], sizes: Mapping[str, Any] | None = None
) -> None:
    """Writes a network of ``NETWORKS``; arguments and errors as of ``write_named``."""
    write_named(path, NETWORKS, name, network, made, sizes or {})


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
    return named_network(path, NETWORKS, content, parameters)
