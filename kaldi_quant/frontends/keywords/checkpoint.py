"""Float networks of keywords in files: their parameters, and everything that made them.

A file of parameters alone, as the ancestor's programs wrote it, is read, too.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kaldi_quant.errors import FormatError, ModelError
from kaldi_quant.frontends.checkpoints import (
    PARAMETERS_KEY,
    load_parameters,
    parameters_of,
    read_content,
    write_content,
)
from kaldi_quant.frontends.keywords.config import BaseCnn
from kaldi_quant.frontends.keywords.networks.m5 import M5

_FORMAT = 1
_NETWORK = "m5"
# Where its blocks are modules: a convolution and a normalization by place.
_BLOCKS = re.compile(r"block(\d)\.block\.([01])\.")
_PARTS = ("conv", "bn")


@dataclass(frozen=True)
class Checkpoint:
    """A float network.

    Args:
        network: in test mode.
        classes: its words, in order; empty where the file does not tell.
        sample_rate: of the waves that it was trained on, in Hz; 0 where the file does not tell.
        made: how, as JSON has it.
    """

    network: M5
    classes: tuple[str, ...] = ()
    sample_rate: int = 0
    made: dict[str, Any] = field(default_factory=dict)


def build(shape: BaseCnn, classes: int) -> M5:
    """The network of a configuration, for so many classes."""
    return M5(shape.n_input, classes, shape.stride, shape.n_channel, shape.conv_kernel_sizes)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a network.

    Raises:
        DataError: the folder cannot be written.
    """
    content = {
        "format": _FORMAT,
        "network": _NETWORK,
        "classes": list(checkpoint.classes),
        "sample_rate": checkpoint.sample_rate,
        "made": checkpoint.made,
        PARAMETERS_KEY: checkpoint.network.state_dict(),
    }
    write_content(path, content)


def read_checkpoint(path: str | Path, shape: BaseCnn) -> Checkpoint:
    """Reads a network.

    Args:
        path: of the file.
        shape: of the network that is expected; ``n_output`` 0 for any number of classes.

    Raises:
        FormatError: the file is missing, or no checkpoint.
        ModelError: it is one of another network; names the first parameter that differs.
    """
    path = Path(path)
    content = read_content(path)
    parameters = parameters_of(path, content)
    if content.get("network", _NETWORK) != _NETWORK:
        raise ModelError(f"{path} is a checkpoint of the network {content['network']!r}, expected {_NETWORK!r}")
    parameters = {_renamed(name): value for name, value in parameters.items()}
    classes = len(parameters["fc1.bias"]) if "fc1.bias" in parameters and not shape.n_output else shape.n_output
    network = build(shape, max(classes, 1))
    load_parameters(path, network, parameters, "M5")
    words, rate, made = content.get("classes", []), content.get("sample_rate", 0), content.get("made", {})
    if not isinstance(words, list) or not isinstance(rate, int) or not isinstance(made, dict):
        raise FormatError(str(path), None, "its classes, sample_rate or made are not what this program writes")
    return Checkpoint(network.eval(), tuple(map(str, words)), rate, made)


def shape_of(network: BaseCnn) -> dict[str, Any]:
    """What of a configuration says how the network is built."""
    return {key: value for key, value in asdict(network).items() if key not in ("pretrained_path", "seed", "version")}


def _renamed(name: str) -> str:
    """``block2.block.0.weight`` → ``conv2.weight``."""
    return _BLOCKS.sub(lambda found: f"{_PARTS[int(found[2])]}{found[1]}.", name)
