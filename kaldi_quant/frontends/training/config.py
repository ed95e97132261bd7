"""Settings of float training that all front ends have: dataclasses that a YAML file changes."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from kaldi_quant.errors import UsageError
from kaldi_quant.registry import Registry
from kaldi_quant.settings import above_0, at_least_0
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
        l2_penalty: this times each parameter is a part of the gradient.
        clip_norm: the largest norm of the gradient; 0 for no limit.
        max_weight: no weight is further from 0; 0 for no limit.
    """

    name: str = "adam"
    amsgrad: bool = False
    momentum: float = 0.0
    weight_decay: float = 0.0
    l2_penalty: float = 0.0
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
            l2_penalty=self.l2_penalty,
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
        hold: of plateau: so many passes at the beginning are not looked at.
    """

    name: str = "cosine"
    lr: float = 1e-3
    lr_final: float = 0.0
    every: int = 0
    factor: float = 0.0
    patience: int = 0
    hold: int = 0

    def schedule(self) -> Schedule:
        """As the training loop takes it.

        Raises:
            UsageError: a value is impossible, or the schedule does not have it.
        """
        given: dict[str, float] = {"final": self.lr_final, "every": self.every, "factor": self.factor}
        given |= {"patience": self.patience, "hold": self.hold}
        return schedule_of(self.name, self.lr, **{name: value or None for name, value in given.items()})


@dataclass(frozen=True)
class ValidationConfig:
    """What development data are asked.

    Args:
        score: decides which network is the best: ``loss``, or a score of the task, the mean over development data.
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
class TrainingSettings:
    """What every front end's settings have.

    Args:
        network: its name.
        sizes: of the network, where they are not its own: arguments of what builds it.
        loss: its name.
        epochs: passes over the training data.
        batch_size: pieces in a minibatch.
        seconds: of a piece.
        gain: in dB: pieces are made louder or softer by up to this.
        keep: mixtures are made anew after so many passes; pieces of them are drawn anew on each.
        seed: of initial weights, order and pieces.
        optimizer: see there, as are the following.
        schedule: of the learning rate.
        validation: on development data.
    """

    network: str = ""
    sizes: dict[str, Any] = field(default_factory=dict)
    loss: str = ""
    epochs: int = 40
    batch_size: int = 16
    seconds: Seconds = 3.0
    gain: float = 0.0
    keep: int = 1
    seed: int = 0
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)

    def check(self, where: str, networks: Registry[Any], losses: Registry[Any], scores: Collection[str]) -> None:
        """Refuses settings that cannot be.

        Args:
            where: they stand, for messages.
            networks: that there are.
            losses: that there are.
            scores: that can decide which network is the best.

        Raises:
            UsageError: there is one; says which, and what is expected.
        """
        above_0(where, {name: getattr(self, name) for name in ("epochs", "batch_size", "seconds", "keep")})
        above_0(where, {"validation, every": self.validation.every})
        patience = self.validation.patience
        at_least_0(where, {"gain": self.gain, "seed": self.seed, "validation, patience": patience})
        known = (LOSS, *scores)
        if self.validation.score not in known:
            raise UsageError(f"{where}: validation, score {self.validation.score!r} is not one of {', '.join(known)}")
        try:
            networks[self.network], losses[self.loss]
            self.optimizer.options(), self.schedule.schedule()
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from error

    def loop(self) -> dict[str, Any]:
        """Arguments that ``finetune`` and ``qat`` have in common.

        Raises:
            UsageError: a value is impossible.
        """
        return {
            "epochs": self.epochs,
            "optimizer": self.optimizer.options(),
            "schedule": self.schedule.schedule(),
            "early_stopping": self.validation.patience,
        }

    def made(self, data: str) -> dict[str, Any]:
        """What made a network, as JSON and torch's files have it.

        Args:
            data: what tells the training data from others.
        """
        settings = json.loads(json.dumps(asdict(self)))
        return {"training": settings, "data": data, "torch": str(torch.__version__)}
