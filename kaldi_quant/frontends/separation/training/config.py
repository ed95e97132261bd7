"""How a network is trained: dataclasses that a YAML file changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.data.augmentations import Augmentation, augmentations
from kaldi_quant.frontends.separation.losses import LOSSES, loss_of
from kaldi_quant.frontends.separation.networks.known import NETWORKS
from kaldi_quant.frontends.separation.scores.measures import metrics_of
from kaldi_quant.frontends.training.config import TrainingSettings
from kaldi_quant.settings import above_0, at_least_0, changed, read_yaml


@dataclass(frozen=True)
class TrainingConfig(TrainingSettings):
    """What ``TrainingSettings`` has, and more.

    Args:
        portions: so many passes are one over the mixtures; ``keep`` counts the latter.
        workers: threads that make minibatches ahead; 0 for none.
        augmentations: what changes pieces: of each its name among ``AUGMENTATIONS``, and its options.
    """

    network: str = "conv-tasnet-small"
    loss: str = "pit-si-sdr"
    batch_size: int = 8
    seconds: float = 2.0
    portions: int = 1
    workers: int = 0
    augmentations: dict[str, Any] = field(default_factory=dict)

    def changes(self) -> list[Augmentation]:
        """What changes pieces.

        Raises:
            UsageError: there is no such augmentation, or a value of it is impossible.
        """
        return augmentations(self.augmentations)


def check_training(config: TrainingConfig, where: str) -> None:
    """Refuses settings that cannot be.

    Args:
        config: the settings.
        where: they stand, for messages.

    Raises:
        UsageError: there is one; says which, and what is expected.
    """
    known = [metric.name for metric in metrics_of(NETWORKS[config.network])] if config.network in NETWORKS else []
    config.check(where, NETWORKS, LOSSES, known)
    above_0(where, {"portions": config.portions})
    at_least_0(where, {"workers": config.workers})
    try:
        loss_of(NETWORKS[config.network], config.loss)
        config.changes()
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def read_training_config(path: str | Path) -> TrainingConfig:
    """Reads settings.

    Raises:
        UsageError: the file is missing or no YAML, has a key that does not exist, or a value that is impossible.
    """
    found: TrainingConfig = changed(TrainingConfig(), read_yaml(path), str(path))
    check_training(found, str(path))
    return found
