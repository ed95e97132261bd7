"""Float networks of keywords in files: their parameters, and everything that made them.

The file is torch's, and is read without executing anything in it (``weights_only``). A file of parameters alone, as the
ancestor's programs wrote it, is read, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import FormatError, ModelError
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
        "state_dict": checkpoint.network.state_dict(),
    }
    with atomic_write(path) as stream:
        torch.save(content, stream)


def write_parameters(path: Path, network: nn.Module) -> None:
    """Writes what another program's quantization has made of a network, for its size and for torch.

    Raises:
        DataError: the file cannot be written.
    """
    with atomic_write(path) as stream:
        torch.save(network.state_dict(), stream)


def read_checkpoint(path: str | Path, shape: BaseCnn) -> Checkpoint:
    """Reads a network.

    Args:
        path: of the file.
        shape: of the network that is expected; ``n_output`` 0 for any number of classes.

    Raises:
        FormatError: the file is missing, or no checkpoint.
        ModelError: it is one of another network; names the first parameter that differs.
    """
    content = _read(Path(path))
    parameters = content.get("state_dict", content)
    if not isinstance(parameters, dict) or not all(isinstance(value, Tensor) for value in parameters.values()):
        raise FormatError(str(path), None, "expected the parameters of a network by name, found other things")
    if content.get("network", _NETWORK) != _NETWORK:
        raise ModelError(f"{path} is a checkpoint of the network {content['network']!r}, expected {_NETWORK!r}")
    parameters = {_renamed(str(name)): value for name, value in parameters.items()}
    classes = len(parameters["fc1.bias"]) if "fc1.bias" in parameters and not shape.n_output else shape.n_output
    network = build(shape, max(classes, 1))
    _check(str(path), network.state_dict(), parameters)
    network.load_state_dict(parameters)
    words, rate, made = content.get("classes", []), content.get("sample_rate", 0), content.get("made", {})
    if not isinstance(words, list) or not isinstance(rate, int) or not isinstance(made, dict):
        raise FormatError(str(path), None, "its classes, sample_rate or made are not what this program writes")
    return Checkpoint(network.eval(), tuple(map(str, words)), rate, made)


def shape_of(network: BaseCnn) -> dict[str, Any]:
    """What of a configuration says how the network is built."""
    return {key: value for key, value in asdict(network).items() if key not in ("pretrained_path", "seed", "version")}


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FormatError(str(path), None, "there is no such file: expected a checkpoint of a float network")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise FormatError(str(path), None, "it is no checkpoint that torch can read without executing it") from error
    if not isinstance(content, dict):
        raise FormatError(str(path), None, f"expected parameters by name, found {type(content).__name__}")
    return content


def _renamed(name: str) -> str:
    """``block2.block.0.weight`` → ``conv2.weight``."""
    return _BLOCKS.sub(lambda found: f"{_PARTS[int(found[2])]}{found[1]}.", name)


def _check(path: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    for name, value in expected.items():
        if name not in found:
            raise ModelError(f"{path} is a checkpoint of another network: it has no {name}, expected M5")
        if value.shape != found[name].shape:
            shapes = f"{tuple(found[name].shape)}, expected {tuple(value.shape)}"
            raise ModelError(f"{path} is a checkpoint of another network: its {name} has the shape {shapes}")
        if not torch.isfinite(found[name]).all():
            raise ModelError(f"{path}: {name} has values that are not finite")
    for name in found:
        if name not in expected:
            raise ModelError(f"{path} is a checkpoint of another network: M5 has no {name}")
