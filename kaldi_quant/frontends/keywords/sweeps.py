"""What quantization costs M5 by the observer of activation ranges, and by block; measured on development data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from kaldi_quant.api import quantization
from kaldi_quant.api.networks import TorchNetwork
from kaldi_quant.atomic import atomic_write
from kaldi_quant.backends.torch_engines.whole_modules import MODULE_OBSERVERS
from kaldi_quant.frontends.keywords.config import KeywordConfig
from kaldi_quant.frontends.keywords.data import KeywordSet
from kaldi_quant.frontends.keywords.evaluation import Run, accuracy_of, run_integers, run_module
from kaldi_quant.frontends.keywords.examples import held_out
from kaldi_quant.frontends.keywords.networks.m5 import M5
from kaldi_quant.frontends.keywords.rivals import torch_ptq
from kaldi_quant.frontends.keywords.training import calibration_set
from kaldi_quant.quant.distance import KullbackLeibler
from kaldi_quant.quant.observers import OBSERVERS
from kaldi_quant.quant.presets import read_preset
from kaldi_quant.quant.sensitivity import with_layers

FLOAT, OURS, TORCH = "float", "kaldi_quant", "torch-x86"


@dataclass(frozen=True)
class Measured:
    """The accuracy on development data.

    Args:
        what: whose quantization, or which choice of layers.
        name: the observer, or the layer.
        accuracy: in percent.
        divergence: from the float network, in nats for a recording; None where it was not measured.
    """

    what: str
    name: str
    accuracy: float
    divergence: float | None = None


def sweep_observers(network: M5, keywords: KeywordSet, config: KeywordConfig) -> Iterator[Measured]:
    """Each observer of this project with the configuration's preset, and each of PyTorch's.

    Args:
        network: in float.
        keywords: the data.
        config: the preset, and how waves are read.
    """
    yield Measured(FLOAT, "", _accuracy(run_module(network), keywords, config))
    origin, calibration = TorchNetwork(network, KullbackLeibler()), calibration_set(keywords, config)
    waves = _dev(keywords, config)
    for name in OBSERVERS:
        preset = replace(read_preset(config.preset), observer=name)
        quantized = quantization.quantize(origin, preset, calibration=calibration)
        lost = quantization.compare(quantized, waves).distance
        yield Measured(OURS, name, _accuracy(run_integers(quantized), keywords, config), lost)
    for name in MODULE_OBSERVERS:
        yield Measured(TORCH, name, _accuracy(run_module(torch_ptq(network, keywords, config, name)), keywords, config))


def sweep_layers(network: M5, keywords: KeywordSet, config: KeywordConfig, folder: Path) -> Iterator[Measured]:
    """No layer quantized, all, each alone, and all but each; folder: where the measurements of divergence are kept."""
    origin = TorchNetwork(network, KullbackLeibler())
    quantized = quantization.quantize(origin, config.preset, calibration=calibration_set(keywords, config))
    layers = set(quantized.network.layers)
    for found in quantization.sensitivity(quantized, _dev(keywords, config), folder):
        chosen = {"float": set(), "all": layers, "alone": {found.layer}, "left out": layers - {found.layer}}
        part = replace(quantized, network=with_layers(quantized.network, chosen[found.mode]))
        yield Measured(found.mode, found.layer, _accuracy(run_integers(part), keywords, config), found.kl)


def write_measured(path: Path, found: list[Measured]) -> None:
    """Writes measurements as JSON.

    Raises:
        DataError: the folder cannot be written.
    """
    with atomic_write(path, "w") as stream:
        stream.write(json.dumps([asdict(entry) for entry in found], indent=1) + "\n")


def read_measured(path: Path) -> list[Measured]:
    """Reads what ``write_measured`` wrote."""
    return [Measured(**entry) for entry in json.loads(path.read_text("utf-8"))]


def as_table(found: list[Measured]) -> str:
    """Measurements as lines for a person."""
    width = max(len(f"{entry.what} {entry.name}") for entry in found)
    lines = []
    for entry in found:
        lost = "" if entry.divergence is None else f"  {entry.divergence:.4f} nats from float"
        lines.append(f"{f'{entry.what} {entry.name}':{width}}  {entry.accuracy:6.2f} %{lost}")
    return "\n".join(lines)


def _accuracy(run: Run, keywords: KeywordSet, config: KeywordConfig) -> float:
    return accuracy_of(run, keywords.dev, config.data.sample_rate, config.data.batch_size).value


def _dev(keywords: KeywordSet, config: KeywordConfig) -> list:
    found = held_out(keywords.dev, len(keywords.classes), config.data.sample_rate, config.data.batch_size)
    return [waves for waves, _ in found]
