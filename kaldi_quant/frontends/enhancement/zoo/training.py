"""Training of a mask network on whole clips; after each epoch validation clips are scored, and the best one is kept."""

from __future__ import annotations

import copy
import csv
import hashlib
import logging
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kaldi_quant.api.finetuning import finetune
from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.frontends.checkpoints import write_parameters
from kaldi_quant.frontends.enhancement.data import EnhancementSet, TrainingSource
from kaldi_quant.frontends.enhancement.training.losses import Target, loss_of
from kaldi_quant.frontends.enhancement.training.minibatches import minibatch
from kaldi_quant.frontends.enhancement.zoo.checks import LOSSES, REFERENCE_METRICS, optimizer_options
from kaldi_quant.frontends.enhancement.zoo.config import ZooConfig
from kaldi_quant.frontends.enhancement.zoo.evaluation import evaluate
from kaldi_quant.frontends.enhancement.zoo.front import ZooFront
from kaldi_quant.torchnn.batches import HeldOutScore, LossFunction, Passes
from kaldi_quant.torchnn.penalties import Penalty
from kaldi_quant.train.checkpoint import FILE_NAME as SNAPSHOT_NAME
from kaldi_quant.train.record import IterationRecord
from kaldi_quant.train.schedules import Constant

_log = logging.getLogger(__name__)
LOGS_FOLDER = "training_logs"
#: Of the table of epochs, and of the scores that they have.
COLUMNS = {"val_mse": "mse", "pesq": "pesq", "stoi": "stoi", "snr": "snr", "si-snr": "sisnr"}


class ClipBatches(Passes):
    """Minibatches of whole clips.

    Args:
        source: of pairs.
        front: what stands around the network.
        batch_size: clips of a minibatch.
        trimmed: clips are cut to the shortest of a minibatch; else filled up to the longest, which counts in no loss.
        shuffled: whether each pass has an order of its own.
        seed: of these orders.
    """

    def __init__(
        self, source: TrainingSource, front: ZooFront, batch_size: int, trimmed: bool, shuffled: bool, seed: int
    ) -> None:
        self.source, self.front, self.batch_size = source, front, batch_size
        self.trimmed, self.shuffled, self.seed = trimmed, shuffled, seed

    def __len__(self) -> int:
        """Minibatches of a pass."""
        return math.ceil(len(self.source) / self.batch_size)

    def minibatches(self, number: int) -> Iterator[tuple[Tensor, Target]]:
        """(inputs, target) pairs of a pass."""
        order = list(range(len(self.source)))
        if self.shuffled:
            order = np.random.default_rng((self.seed, number)).permutation(len(order)).tolist()
        for begin in range(0, len(order), self.batch_size):
            pairs = [self.source.item(place, number) for place in order[begin : begin + self.batch_size]]
            end = min(len(pair.clean) for pair in pairs) if self.trimmed else None
            yield minibatch([(pair.noisy[:end], pair.clean[:end]) for pair in pairs], self.front)

    def digest(self) -> str:
        """What tells clips and order from others."""
        settings = (self.front, self.batch_size, self.trimmed, self.shuffled, self.seed)
        return hashlib.sha256(f"{self.source.digest()} {settings}".encode()).hexdigest()


@dataclass
class Validation:
    """Scores of validation clips, of which one decides; or the loss of training, where no clip decides.

    Args:
        data: with these clips.
        front: what stands around the network.
        reference: the name of the score that decides; None for the loss of training.
        scores: those of the network that was scored last.
        losses: of the minibatches since then.
    """

    data: EnhancementSet
    front: ZooFront
    reference: str | None
    scores: Mapping[str, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    _loss: float = float("inf")

    def watched(self, loss: LossFunction) -> LossFunction:
        """A loss whose values in training are noted."""

        def noted(output: Tensor, target: Any) -> Tensor:
            value = loss(output, target)
            if torch.is_grad_enabled():
                self.losses.append(float(value.detach()))
            return value

        return noted

    def __call__(self, network: Any) -> float:
        """The value that decides, the greater the better."""
        if self.losses:
            self._loss, self.losses = float(np.mean(self.losses)), []
        self.scores = evaluate(network, self.front, self.data.dev, self.data.rate).means if len(self.data.dev) else {}
        if self.reference is None:
            return -self._loss
        return -self.scores["mse"] if self.reference == "mse" else self.scores[self.reference]


@dataclass
class Epochs:
    """What is left after each epoch: a line of the table, and now and then a checkpoint.

    Args:
        table: the file.
        checkpoints: the folder.
        every: a checkpoint after so many epochs.
        validation: that has just been done.
        last: the parameters of the last epoch.
    """

    table: Path
    checkpoints: Path
    every: int
    validation: Validation
    last: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, entry: IterationRecord, network: nn.Module) -> None:
        """An epoch has ended."""
        number = entry.iteration + 1
        self.last = {name: value.detach().clone() for name, value in network.state_dict().items()}
        scores = self.validation.scores
        row: dict[str, Any] = {"epoch": number, "train_loss": entry.train["loss"]}
        row |= {name: scores.get(score) for name, score in COLUMNS.items()}
        rows = [other for other in read_epochs(self.table) if int(other["epoch"]) < number]
        with atomic_write(self.table, "w") as stream:
            table = csv.DictWriter(stream, list(row), lineterminator="\n")
            table.writeheader()
            table.writerows([*rows, row])
        if number % self.every == 0:
            write_parameters(self.checkpoints / f"checkpoint_epoch_{number}.pth", network)


def read_epochs(path: Path) -> list[dict[str, str]]:
    """The lines of the table of epochs; none where there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@dataclass(frozen=True)
class Trained:
    """Networks that training gives.

    Args:
        last: of the last epoch.
        best: of the epoch that was the best, or an average of the last ones that is better still.
        table: of epochs.
    """

    last: nn.Module
    best: nn.Module
    table: Path


def train(network: nn.Module, data: EnhancementSet, config: ZooConfig, front: ZooFront, folder: Path) -> Trained:
    """Trains a network, which is left as it is.

    Args:
        network: (N, bins, T) → (N, bins, T), a mask.
        data: with training and validation clips.
        config: of the run.
        front: what stands around the network.
        folder: of the run.

    Raises:
        DataError: there are no clips, or they cannot be used.
        UsageError: an option does not fit the network, or the snapshot is of another training.
    """
    asked, logs = config.training, folder / LOGS_FOLDER
    if not len(data.train):
        raise DataError("there are no clips to train on: see dataset.num_training_samples and the training folders")
    if asked.device != "cpu":
        _log.warning("training.device %s: networks are trained on the CPU here", asked.device)
    reference = REFERENCE_METRICS[asked.reference_metric]
    if reference is not None and not len(data.dev):
        raise DataError("there are no validation clips: see dataset.num_validation_samples")
    table = logs / asked.logs_filename
    if asked.snapshot_path:
        _begin_from(Path(asked.snapshot_path).expanduser(), table)
    validation = Validation(data, front, reference)
    epochs = Epochs(table, folder / asked.ckpt_path, asked.save_every, validation)
    trimmed, dataset = asked.batching_strategy == "trim", config.dataset
    batches = ClipBatches(data.train, front, asked.batch_size, trimmed, dataset.shuffle, dataset.random_seed)
    best: nn.Module = finetune(
        network,
        batches,
        loss=validation.watched(loss_of(LOSSES[asked.loss], front)),
        epochs=asked.epochs,
        optimizer=optimizer_options(config),
        schedule=Constant(float(asked.optimizer_arguments["lr"])),
        # Without an end, too, the best epoch is kept.
        early_stopping=asked.early_stopping_patience if asked.early_stopping else asked.epochs,
        score=HeldOutScore(asked.reference_metric, validation, data.dev.digest()),
        penalty=_penalty(config),
        after_pass=epochs,
        train_mode=True,
        folder=logs,
    )
    last = copy.deepcopy(best)
    if epochs.last:
        last.load_state_dict(epochs.last)
    return Trained(last.eval(), best.eval(), table)


def _begin_from(snapshot: Path, table: Path) -> None:
    if not snapshot.is_file():
        raise UsageError(f"training.snapshot_path: there is no file {snapshot}")
    table.parent.mkdir(parents=True, exist_ok=True)
    found: Iterable[tuple[Path, Path]] = (
        (snapshot, table.parent / SNAPSHOT_NAME),
        (snapshot.parent / table.name, table),
    )
    for source, target in found:
        if source.is_file() and source.resolve() != target.resolve():
            shutil.copyfile(source, target)


def _penalty(config: ZooConfig) -> Penalty | None:
    asked = config.training.regularization
    if asked is None or not asked.activation_regularization:
        return None
    # The zoo's convolutions stand in a class of their own; here all are Conv1d.
    layers = tuple(name for name in asked.act_reg_layer_types if name != "DepthwiseSeparableConv")
    return Penalty(
        layers or ("Conv1d",), asked.activation_regularization, asked.act_reg_threshold or 0.0, asked.penalty_type
    )
