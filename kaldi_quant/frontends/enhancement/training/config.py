"""How a network is trained: dataclasses that a YAML file changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.enhancement.networks.known import NETWORKS
from kaldi_quant.frontends.enhancement.training.losses import LOSSES
from kaldi_quant.metrics.speech import MEASURES
from kaldi_quant.settings import above_0, at_least_0, changed, read_yaml
from kaldi_quant.torchnn.penalties import Penalty
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.schedules import Schedule, schedule_of
from kaldi_quant.units import Seconds

#: Validation by the loss on development data needs no scores.
LOSS = "loss"


@dataclass(frozen=True)
class OptimizerConfig:
    """How parameters are changed.

    Args:
        name: adam or sgd.
        amsgrad: of adam.
        momentum: of sgd.
        weight_decay: of adam, apart from the gradient.
        clip_norm: the largest norm of the gradient; 0 for no limit.
        max_weight: no weight is further from 0; 0 for no limit.
    """

    name: str = "adam"
    amsgrad: bool = False
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = 5.0
    max_weight: float = 0.0

    def options(self) -> OptimizerOptions:
        """As the training loop takes them; Kaldi's limit on each step is one for Kaldi's networks.

        Raises:
            UsageError: a value is impossible.
        """
        return OptimizerOptions(
            self.name,
            amsgrad=self.amsgrad,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            max_weight=self.max_weight,
            max_param_change=0.0,
        )


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate.

    Args:
        name: exponential, constant, step, cosine or plateau.
        lr: of the first pass.
        lr_final: of exponential, cosine and plateau; 0 for its default.
        every: of step, in passes; 0 for its default.
        factor: of step and plateau; 0 for its default.
        patience: of plateau, in passes; 0 for its default.
    """

    name: str = "cosine"
    lr: float = 1e-3
    lr_final: float = 0.0
    every: int = 0
    factor: float = 0.0
    patience: int = 0

    def schedule(self) -> Schedule:
        """As the training loop takes it.

        Raises:
            UsageError: a value is impossible, or the schedule does not have it.
        """
        given = {"final": self.lr_final, "every": self.every, "factor": self.factor, "patience": self.patience}
        return schedule_of(self.name, self.lr, **{name: value or None for name, value in given.items()})


@dataclass(frozen=True)
class ValidationConfig:
    """What development data are asked.

    Args:
        score: decides which network is the best: ``loss``, or PESQ, STOI or SI-SDR, the mean over development data.
        every: after so many passes, and after the last.
        patience: training ends after so many passes that are not better, and the best one is taken; 0 for never.
    """

    score: str = LOSS
    every: int = 1
    patience: int = 0


@dataclass(frozen=True)
class PenaltyConfig:
    """Activation regularisation.

    Args:
        factor: of the norms that are added to the loss; 0 for none.
        threshold: what is not further from 0 costs nothing.
        norm: l1 or l2.
        layers: the classes of layers.
    """

    factor: float = 0.0
    threshold: float = 50.0
    norm: str = "l2"
    layers: tuple[str, ...] = ("Conv1d",)

    def penalty(self) -> Penalty | None:
        """As the training loop takes it; None where there is none.

        Raises:
            UsageError: a value is impossible.
        """
        found = Penalty(self.layers, self.factor, self.threshold, self.norm)
        return found if self.factor else None


@dataclass(frozen=True)
class TrainingConfig:
    """All of it.

    Args:
        network: a name of ``NETWORKS``.
        sizes: of the network, where they are not its own: arguments of what builds it.
        loss: a name of ``LOSSES``.
        epochs: passes over the training data.
        batch_size: pieces in a minibatch.
        seconds: of a piece.
        gain: in dB: pieces are made louder or softer by up to this.
        keep: mixtures are made anew after so many passes; pieces of them are drawn anew on each.
        seed: of initial weights, order and pieces.
        optimizer: see there, as are the following.
        schedule: of the learning rate.
        validation: on development data.
        penalty: of large activations.
    """

    network: str = "crn-100k"
    sizes: dict[str, Any] = field(default_factory=dict)
    loss: str = "magnitude-mse"
    epochs: int = 40
    batch_size: int = 16
    seconds: Seconds = 3.0
    gain: float = 0.0
    keep: int = 1
    seed: int = 0
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)


def check_training(config: TrainingConfig, where: str) -> None:
    """Refuses settings that cannot be.

    Args:
        config: the settings.
        where: they stand, for messages.

    Raises:
        UsageError: there is one; says which, and what is expected.
    """
    above_0(where, {name: getattr(config, name) for name in ("epochs", "batch_size", "seconds", "keep")})
    above_0(where, {"validation, every": config.validation.every})
    at_least_0(where, {"gain": config.gain, "seed": config.seed, "validation, patience": config.validation.patience})
    if config.validation.score not in (LOSS, *MEASURES):
        raise UsageError(
            f"{where}: validation, score {config.validation.score!r} is not one of {', '.join((LOSS, *MEASURES))}"
        )
    try:
        NETWORKS[config.network], LOSSES[config.loss]
        config.optimizer.options(), config.schedule.schedule(), config.penalty.penalty()
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
