"""Float networks that have names: built at random, and in files with their sizes and with what made them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from kaldi_quant.errors import FormatError, KaldiQuantError, ModelError, UsageError
from kaldi_quant.frontends.checkpoints import PARAMETERS_KEY, load_parameters, write_content
from kaldi_quant.registry import Registry

_FORMAT = 1


class Buildable(Protocol):
    """What a registry of networks has of each."""

    @property
    def build(self) -> Callable[..., nn.Module]:
        """Makes one of random weights; keyword arguments are its sizes."""


@dataclass(frozen=True)
class FloatCheckpoint:
    """A float network.

    Args:
        name: of its registry.
        network: in test mode.
        made: how, as JSON has it.
        sizes: of the network, where they are not its own.
    """

    name: str
    network: nn.Module
    made: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, Any] = field(default_factory=dict)


def random_network(kind: Buildable, name: str, sizes: Mapping[str, Any], seed: int) -> nn.Module:
    """A network of random weights, the same for the same seed.

    Raises:
        UsageError: it has no such sizes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            return kind.build(**sizes)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UsageError(f"{name} cannot be built with the sizes {dict(sizes)}: {error}") from error


def write_named(
    path: Path,
    networks: Registry[Any],
    name: str,
    network: nn.Module,
    made: Mapping[str, Any],
    sizes: Mapping[str, Any],
) -> None:
    """Writes a network.

    Args:
        path: of the file.
        networks: of which it is one.
        name: its name there.
        network: as that name and the sizes build it.
        made: how, as JSON has it.
        sizes: of the network, where they are not its own.

    Raises:
        DataError: the folder cannot be written.
        UsageError: there is no such network.
    """
    networks[name]
    content = {"format": _FORMAT, "network": name, "sizes": dict(sizes), "made": dict(made)}
    write_content(path, {**content, PARAMETERS_KEY: network.state_dict()})


def named_network(
    path: Path, networks: Registry[Any], content: Mapping[str, Any], parameters: Mapping[str, Tensor]
) -> FloatCheckpoint:
    """The network of a file.

    Args:
        path: of the file, for messages.
        networks: of which it should be one.
        content: of the file: ``network``, the name; and ``sizes`` and ``made``, where they are there.
        parameters: by name.

    Raises:
        FormatError: the content is none of ``write_named``.
        ModelError: it is one of another network; names the first parameter that differs.
    """
    name, sizes, made = content["network"], content.get("sizes", {}), content.get("made", {})
    if name not in networks:
        raise ModelError(f"{path} is a checkpoint of the network {name!r}, expected one of {', '.join(networks)}")
    if not isinstance(sizes, dict) or not isinstance(made, dict):
        raise FormatError(str(path), None, "its sizes or made are not what this program writes")
    try:
        network = networks[name].build(**sizes)
    except (TypeError, ValueError, RuntimeError, KaldiQuantError) as error:
        raise ModelError(f"{path}: the network {name} cannot be built with the sizes {sizes}: {error}") from error
    load_parameters(path, network, parameters, name)
    return FloatCheckpoint(name, network.eval(), made, sizes)
