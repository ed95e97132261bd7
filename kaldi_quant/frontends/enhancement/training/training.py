"""Float training. Development data choose, test data choose nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from torch import nn

from kaldi_quant.api import finetuning
from kaldi_quant.frontends.enhancement.networks.known import Kind
from kaldi_quant.frontends.enhancement.training.config import TrainingConfig
from kaldi_quant.frontends.enhancement.training.losses import loss_of
from kaldi_quant.frontends.enhancement.training.minibatches import (
    Items,
    NoisyClean,
    TrainingBatches,
    held_out_batches,
)
from kaldi_quant.frontends.enhancement.training.validation import mean_score
from kaldi_quant.frontends.training.config import LOSS
from kaldi_quant.frontends.training.networks import random_network


class Pairs(Protocol):
    """A sequence of pairs, made when they are asked for."""

    def __len__(self) -> int:
        """How many."""

    def __getitem__(self, place: int, /) -> NoisyClean:
        """One of them; beyond the last one IndexError, as of lists."""

    def digest(self) -> str:
        """What tells them from others."""


class Data(Protocol):
    """What training reads of an ``EnhancementSet``."""

    @property
    def rate(self) -> int:
        """In Hz."""

    @property
    def train(self) -> Items:
        """What is learned from."""

    @property
    def dev(self) -> Pairs:
        """What chooses."""


def train_float(
    kind: Kind, data: Data, config: TrainingConfig, folder: Path, start: nn.Module | None = None
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

    Returns:
        the network, in test mode.

    Raises:
        DataError: the data cannot be used.
        MissingDependencyError: a package of the score that decides is not installed.
        UsageError: a setting is impossible.
    """
    around, validation = kind.around, config.validation
    batches = TrainingBatches(
        data.train,
        around,
        batch_size=config.batch_size,
        seconds=config.seconds,
        seed=config.seed,
        gain=config.gain,
        keep=config.keep,
        rate=data.rate,
    )
    dev = [data.dev[place] for place in range(len(data.dev))]
    score = None
    if validation.score != LOSS:
        score = mean_score(validation.score, dev, around, data.rate, data.dev.digest())
    network: nn.Module = finetuning.finetune(
        start or random_network(kind, config.network, config.sizes, config.seed),
        batches,
        loss=loss_of(config.loss, around),
        held_out=held_out_batches(dev, around, config.batch_size),
        validate_every=validation.every,
        score=score,
        penalty=config.penalty.penalty(),
        train_mode=True,
        folder=folder,
        **config.loop(),
    )
    return network.eval()
