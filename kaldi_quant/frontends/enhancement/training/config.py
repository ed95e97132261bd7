"""How a network is trained: dataclasses that a YAML file changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.enhancement.networks.known import NETWORKS
from kaldi_quant.frontends.enhancement.training.losses import LOSSES
from kaldi_quant.frontends.training.config import PenaltyConfig, TrainingSettings
from kaldi_quant.metrics.speech import MEASURES
from kaldi_quant.settings import changed, read_yaml


@dataclass(frozen=True)
class TrainingConfig(TrainingSettings):
    """What ``TrainingSettings`` has, and more.

    Args:
        penalty: of large activations.
    """

    network: str = "crn-100k"
    loss: str = "magnitude-mse"
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)


def check_training(config: TrainingConfig, where: str) -> None:
    """Refuses settings that cannot be.

    Args:
        config: the settings.
        where: they stand, for messages.

    Raises:
        UsageError: there is one; says which, and what is expected.
    """
    config.check(where, NETWORKS, LOSSES, MEASURES)
    try:
        config.penalty.penalty()
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
