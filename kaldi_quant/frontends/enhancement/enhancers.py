"""What enhances recordings, by name: a network in a file or a cell's folder, or a method without a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends import network_files
from kaldi_quant.frontends.enhancement.networks.known import NETWORKS
from kaldi_quant.frontends.enhancement.training.checkpoint import read_network
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.registry import Registry
from kaldi_quant.units import Hertz

#: (S,) float32 enhanced, for (S,) of floats.
Enhance = Callable[[Array], Array]
#: What enhances without a network, for a rate.
METHODS: Registry[Callable[[Hertz], Enhance]] = Registry("method of enhancement")
#: Under this key the record of an integer model names its network.
RECORD_KEY = "enhancement"
#: The rate that all networks hear.
RATE: Hertz = 16000

# Of spectral subtraction: frames of 32 ms, a floor of -12 dB, and noise as in the softest tenth of the frames.
_FRAME, _FLOOR, _SOFTEST, _OVER = 0.032, 0.25, 0.1, 2.0


@dataclass(frozen=True)
class Enhancer:
    """What enhances recordings.

    Args:
        name: in tables and folders.
        path: of the network's file; None for a method without one.
        enhance: (S,) float32 for (S,).
    """

    name: str
    path: Path | None
    enhance: Enhance


@METHODS.add("identity")
def _identity(rate: Hertz) -> Enhance:
    """Nothing is changed: what stands around networks is tested by it."""
    return lambda noisy: noisy.astype(np.float32)


@METHODS.add("spectral-subtraction")
def _spectral_subtraction(rate: Hertz) -> Enhance:
    """Noise is taken to be what the softest frames of each bin hold, and taken away from all frames.

    S. Boll, "Suppression of acoustic noise in speech using spectral subtraction", 1979, in powers, with a floor.
    """
    size = round(_FRAME * rate)
    window = torch.hann_window(size)

    def enhance(noisy: Array) -> Array:
        wave = torch.from_numpy(noisy.astype(np.float32))
        spectrum = torch.stft(wave, size, size // 4, window=window, return_complex=True, pad_mode="constant")
        powers = spectrum.abs().square()
        count = max(1, round(_SOFTEST * powers.shape[1]))
        noise = powers.sort(dim=1).values[:, :count].mean(dim=1, keepdim=True)
        gains = (1 - _OVER * noise / powers.clamp(min=1e-20)).clamp(min=_FLOOR**2).sqrt()
        return torch.istft(spectrum * gains, size, size // 4, window=window, length=len(wave)).numpy()

    return enhance


def parse_enhancers(text: str) -> list[tuple[str, str, str]]:
    """Splits ``[NAME=]WHAT[@NETWORK],…`` into names, files, folders or methods, and networks, which may be empty.

    A cell's folder is called by its network and method, a file by its stem.

    Raises:
        UsageError: one is empty, or two have one name, or a name is no name of a folder.

    Example:
        >>> parse_enhancers("exp/crn/float,q=a.onnx@crn-100k")
        [('crn-float', 'exp/crn/float', ''), ('q', 'a.onnx', 'crn-100k')]
    """
    found: list[tuple[str, str, str]] = []
    for word in filter(None, text.split(",")):
        name, equals, rest = word.rpartition("=")
        what, _, network = rest.partition("@")
        if not what or (equals and not name):
            raise UsageError(f"--networks: expected [NAME=]FILE[@NETWORK], found {word!r}")
        path = Path(what)
        name = name or (f"{path.parent.name}-{path.name}".strip("-") if path.is_dir() else path.stem)
        if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
            raise UsageError(f"--networks: {name!r} cannot be the name of a folder: give one, as in NAME={what}")
        if name in [other for other, *_ in found]:
            raise UsageError(f"--networks: two are called {name}: give them names, as in NAME={what}")
        found.append((name, what, network))
    return found


def check_enhancer(what: str, network: str) -> None:
    """Refuses what cannot be one, without reading networks.

    Raises:
        UsageError: there is no such file, folder or method, or no such network.
    """
    if what not in METHODS and not Path(what).exists():
        raise UsageError(f"--networks: {what} is no file or cell, nor one of {', '.join(METHODS)}")
    if network:
        NETWORKS[network]


def file_of(what: str) -> Path | None:
    """The file of a network, which for a cell is the one that runs fastest; None for a method without one.

    Raises:
        FormatError: a folder holds none.
    """
    return None if what in METHODS else network_files.file_of(what)


def open_enhancer(name: str, what: str, network: str = "") -> Enhancer:
    """What a name, a file or a cell's folder stands for.

    Args:
        name: in tables.
        what: a name of ``METHODS``; a float checkpoint, an integer model or an ONNX file; or a cell's folder.
        network: of ``NETWORKS``, where neither the file nor a ``cell.json`` beside it tells.

    Raises:
        FormatError: the file is broken, or none of these.
        UsageError: it is not known which network it is.
    """
    path = file_of(what)
    if path is None:
        return Enhancer(name, None, METHODS[what](RATE))
    opened = network_files.open_network(path, network, RECORD_KEY, read_network, ", ".join(NETWORKS))
    around = NETWORKS[opened.name].around

    @torch.no_grad()
    def enhance(noisy: Array) -> Array:
        return around.enhance(opened.run, torch.from_numpy(noisy.astype(np.float32))[None])[0].numpy()

    return Enhancer(name, path, enhance)
