"""Float training. Development data choose, test data choose nothing."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from kaldi_quant.api import finetuning
from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.data.batches import TrainingBatches, held_out_batches
from kaldi_quant.frontends.separation.data.mixtures import SeparationSet
from kaldi_quant.frontends.separation.losses import loss_of
from kaldi_quant.frontends.separation.networks.known import Kind
from kaldi_quant.frontends.separation.training.config import TrainingConfig
from kaldi_quant.frontends.separation.training.validation import mean_score
from kaldi_quant.frontends.training.config import LOSS
from kaldi_quant.frontends.training.networks import random_network
from kaldi_quant.train.parallel.device_context import DeviceContext
from kaldi_quant.units import Hertz, Seconds


def training_batches(data: SeparationSet, config: TrainingConfig) -> TrainingBatches:
    """Minibatches of the training data, as settings have it.

    Raises:
        UsageError: a setting is impossible, or there is nothing to train on.
    """
    return TrainingBatches(
        data.train,
        augmentations=config.changes(),
        batch_size=config.batch_size,
        seconds=config.seconds,
        seed=config.seed,
        gain=config.gain,
        keep=config.keep,
        portions=config.portions,
        workers=config.workers,
        rate=data.rate,
    )


def spare(config: TrainingConfig, rate: Hertz) -> Seconds:
    """How much longer than ``seconds`` items of training should be, for what makes pieces shorter.

    Raises:
        UsageError: a setting is impossible.
    """
    samples = needed = round(config.seconds * rate)
    for change in reversed(config.changes()):
        needed = change.needs(needed)
    return (needed - samples) / rate


def check_data(kind: Kind, data: SeparationSet) -> None:
    """Refuses data of another kind of network.

    Raises:
        UsageError: rate, channels or sources are others.
    """
    expected = {"Hz": kind.rate, "channels": kind.channels, "sources": len(kind.sources)}
    found = {"Hz": data.rate, "channels": data.channels, "sources": len(data.sources)}
    for unit, value in expected.items():
        if found[unit] != value:
            raise UsageError(f"the network is for {value} {unit}, and the data have {found[unit]}")
    if kind.is_ordered and data.sources != kind.sources:
        raise UsageError(f"the network gives {', '.join(kind.sources)}, and the data have {', '.join(data.sources)}")


def train_float(
    kind: Kind,
    data: SeparationSet,
    config: TrainingConfig,
    folder: Path,
    start: nn.Module | None = None,
    place: DeviceContext | None = None,
) -> nn.Module:
    """Trains a network.

    The last pass is taken, or an average of the last ones where it does better on development data; with patience the
    best pass.

    Args:
        kind: of network.
        data: training and development data.
        config: how.
        folder: of the training's own checkpoint, where an interrupted one goes on, and of its record.
        start: a network that is trained further, and left as it is; by default one of random weights.
        place: where it is computed, and by which processes; by default by this one, on the CPU.

    Returns:
        the network, in test mode.

    Raises:
        DataError: the data cannot be used.
        MissingDependencyError: a package of the score that decides is not installed.
        UsageError: a setting is impossible, or the data are those of another kind of network.
    """
    check_data(kind, data)
    dev, score = list(data.dev), None
    if config.validation.score != LOSS:
        score = mean_score(config.validation.score, dev, kind, data.dev.digest())
    network: nn.Module = finetuning.finetune(
        start or random_network(kind, config.network, config.sizes, config.seed),
        training_batches(data, config),
        loss=loss_of(kind, config.loss),
        held_out=held_out_batches(dev, config.batch_size),
        validate_every=config.validation.every,
        score=score,
        train_mode=True,
        place=place,
        folder=folder,
        **config.loop(),
    )
    return network.eval()
