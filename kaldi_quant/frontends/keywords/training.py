"""Training of keyword networks: in float, and quantized. Development data choose, test data choose nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.api import finetuning, quantization, training
from kaldi_quant.api.networks import TorchNetwork
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError
from kaldi_quant.frontends.keywords.checkpoint import Checkpoint, build, shape_of
from kaldi_quant.frontends.keywords.config import KeywordConfig
from kaldi_quant.frontends.keywords.data import KeywordSet
from kaldi_quant.frontends.keywords.examples import Changes, Examples, accuracy, cross_entropy, drawn, held_out
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.distance import KullbackLeibler
from kaldi_quant.quant.presets import read_preset
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.record import FILE_NAME as PROGRESS_NAME
from kaldi_quant.train.schedules import Step

HISTORY_NAME = "history.json"
_WATCHED = {"accuracy": accuracy}


def check_classes(keywords: KeywordSet, wanted: int, where: str) -> int:
    """How many classes the network has.

    Args:
        keywords: the data.
        wanted: what the configuration says; 0 for those of the data.
        where: the data are, for the message.

    Raises:
        DataError: the data have more or fewer.
    """
    found = len(keywords.classes)
    if wanted not in (0, found):
        raise DataError(f"{where} has {found} classes ({', '.join(keywords.classes)}), and the network has {wanted}")
    return found


def train_float(keywords: KeywordSet, config: KeywordConfig, folder: Path) -> Checkpoint:
    """Trains M5 from the start.

    The last epoch is taken, or an average of the last ones where it has less loss on development data.

    Args:
        keywords: the data.
        config: how.
        folder: of the training's own checkpoint, where an interrupted one goes on, and of ``history.json``.

    Raises:
        DataError: the data do not fit the network, or cannot be used.
    """
    classes = check_classes(keywords, config.model.base_cnn.n_output, config.data.raw_dir)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.train.seed)
        network = build(config.model.base_cnn, classes)
    network = finetuning.finetune(
        network,
        examples_of(keywords, config),
        loss=cross_entropy,
        held_out=held_out(keywords.dev, classes, config.data.sample_rate, config.data.batch_size),
        train_mode=True,
        folder=folder,
        **loop_of(config),
    )
    write_history(folder)
    return Checkpoint(network.eval(), keywords.classes, config.data.sample_rate, made_of(config))


def quantize(keywords: KeywordSet, config: KeywordConfig, network: nn.Module, block: int | None = None) -> Quantized:
    """Quantizes after training; the calibration set is drawn from the training data.

    Args:
        keywords: the data.
        config: how.
        network: in float.
        block: that is quantized alone; None for the whole network.
    """
    preset: str | PtqConfig = config.preset if block is None else only_block(read_preset(config.preset), block)
    origin = TorchNetwork(network, KullbackLeibler())
    return quantization.quantize(origin, preset, calibration=calibration_set(keywords, config))


def only_block(config: PtqConfig, block: int) -> PtqConfig:
    """A configuration that quantizes one block of M5, and leaves the others in float."""
    alone = {"*": {"float_reason": f"block {block} alone is quantized"}, f"conv{block}": {"float_reason": ""}}
    return replace(config, layers={**config.layers, **alone})


def calibration_set(keywords: KeywordSet, config: KeywordConfig) -> list[Tensor]:
    """Waves of some training recordings, (B, 1, T) each."""
    number, data = config.model.calibration, config.data
    return drawn(keywords.train, number, data.sample_rate, min(data.batch_size, number), config.model.base_cnn.seed)


def train_quantized(keywords: KeywordSet, config: KeywordConfig, start: Quantized, folder: Path) -> Quantized:
    """Trains a quantized network on labels, on what the float network answers, or on both, with learned scales.

    Args:
        keywords: the data.
        config: how.
        start: as ``quantize`` gives it.
        folder: as of ``train_float``.
    """
    assert isinstance(start.origin, TorchNetwork)
    rate, classes = config.data.sample_rate, len(keywords.classes)
    trained = training.qat(
        start,
        examples_of(keywords, config, start.origin.module.eval()),
        loss=cross_entropy,
        held_out=held_out(keywords.dev, classes, rate, config.data.batch_size),
        folder=folder,
        **loop_of(config),
    )
    write_history(folder)
    return trained


def write_history(folder: Path) -> None:
    """Writes ``history.json`` from the training's own record: one entry for each epoch.

    Raises:
        DataError: the folder cannot be written.
    """
    record = json.loads((folder / PROGRESS_NAME).read_text("utf-8"))
    epochs = [
        {
            "epoch": entry["iteration"] + 1,
            "lr": entry["learning_rate"],
            "train_loss": entry["train"]["loss"],
            "dev_loss": entry["valid"]["loss"],
            "dev_accuracy": 100 * entry["valid"]["accuracy"],
            "seconds": entry["seconds"],
        }
        for entry in record["iterations"]
        if entry["iteration"] >= 0
    ]
    with atomic_write(folder / HISTORY_NAME, "w") as stream:
        stream.write(json.dumps({"epochs": epochs, "chosen": record["result"]}, indent=1) + "\n")


def made_of(config: KeywordConfig) -> dict[str, Any]:
    """What made a network, as JSON and torch's files have it."""
    return {
        "model_type": config.model_type,
        "network": _plain(shape_of(config.model.base_cnn)),
        "data": _plain(asdict(config.data)),
        "train": _plain(asdict(config.train)),
        "torch": str(torch.__version__),
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def examples_of(keywords: KeywordSet, config: KeywordConfig, teacher: nn.Module | None = None) -> Examples:
    """The minibatches that a configuration asks for; teacher: the float network."""
    train = config.train
    return Examples(
        keywords.train,
        len(keywords.classes),
        config.data.sample_rate,
        config.batch_size,
        Changes(train.shift, train.speed, train.gain, train.noise),
        train.seed,
        teacher,
        train.teacher,
    )


def loop_of(config: KeywordConfig) -> dict[str, Any]:
    """Adam with torch's weight decay, ``StepLR``; then the average of the last epochs that development data choose."""
    train = config.train
    return {
        "epochs": train.n_epoch,
        "optimizer": OptimizerOptions(clip_norm=0.0, max_param_change=0.0, l2_penalty=train.weight_decay),
        "schedule": Step(train.lr, train.step_size, train.gamma),
        "watched": _WATCHED,
    }
