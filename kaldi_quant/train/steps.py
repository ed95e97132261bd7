"""The steps of training: each changes the parameters by the gradient of one minibatch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from kaldi_quant.errors import DataError
from kaldi_quant.quant.host import Executable
from kaldi_quant.train.loss import Loss, add
from kaldi_quant.train.optimizer import OptimizerOptions, Stepper
from kaldi_quant.train.parallel.distributed import Group
from kaldi_quant.train.parameters import TrainedComponent
from kaldi_quant.train.record import IterationRecord

State = dict[str, Tensor]


class Source(Protocol):
    """Where the minibatches come from."""

    def __len__(self) -> int:
        """Passes over archives, or over whatever stands for one."""

    def describe(self, number: int) -> tuple[str, int]:
        """The name of a pass's examples, and their frame shift."""

    def losses(self, number: int, model: Any) -> Iterator[Loss]:
        """The loss of each minibatch of a pass, computed when it is asked for: of this process's share of it."""

    def validate(self, model: Any) -> dict[str, float]:
        """The parts of the objective on held-out examples, per frame; empty where there are none."""

    @property
    def has_held_out(self) -> bool:
        """Whether there are held-out examples."""

    def objective(self, parts: dict[str, float]) -> float:
        """How well a model does, the greater the better, from what ``validate`` gave of it."""

    def score(self, model: Any) -> float | None:
        """What averages of models are compared by, the greater the better; None where there is nothing."""


class Observers(Protocol):
    """What changes beside parameters while a model is trained: ranges that follow what is computed."""

    def freeze(self, frozen: bool) -> None:
        """Keeps ranges as they are, or lets them go on."""

    def tensors(self) -> dict[str, Tensor]:
        """The ranges, by name."""


class Trainer:
    """Changes a model.

    Args:
        model: is changed.
        components: of it, that are trained.
        options: how.
        frozen: of the components those that hold scales of quantization.
        group: the processes that share each minibatch.
        observers: of the model, if it has any.
    """

    def __init__(
        self,
        model: Executable,
        components: list[TrainedComponent],
        options: OptimizerOptions,
        frozen: list[TrainedComponent] | None = None,
        group: Group | None = None,
        observers: Observers | None = None,
    ) -> None:
        self.model, self.components, self.frozen = model, components, frozen or []
        self.observers = observers
        self.group = group or Group()
        self.stepper = Stepper(self._parts, options)

    @property
    def _parts(self) -> list[TrainedComponent]:
        return [*self.components, *self.frozen]

    def freeze(self, frozen: bool) -> None:
        """Keeps the scales of quantization as they are, or lets them go on."""
        for part in self.frozen:
            for parameter in part.parameters.values():
                parameter.requires_grad_(not frozen)
        if self.observers is not None:
            self.observers.freeze(frozen)

    def train(self, source: Source, number: int, rate: float, entry: IterationRecord) -> None:
        """Goes over the minibatches of one pass.

        Args:
            source: of the minibatches.
            number: of the pass.
            rate: the learning rate.
            entry: where the sums of the objective, per frame, and what was seen are noted.

        Raises:
            DataError: there is no minibatch, or none has a finite objective.
        """
        sums: dict[str, float] = {}
        weight = 0.0
        for loss in source.losses(number, self.model):
            if self._step(loss, rate, entry):
                add(loss.sums, sums)
                weight += loss.weight
        archive, _ = source.describe(number)
        if not entry.minibatches:
            raise DataError(f"{archive} has fewer examples than one minibatch: give a smaller --minibatch-size")
        if entry.skipped == entry.minibatches:
            raise DataError(f"{archive}: no minibatch has a finite objective: is the learning rate {rate:g} too high?")
        total: dict[str, float] = {}
        for part, frames in self.group.gather([sums, weight]):
            add(part, total)
            entry.frames += frames
        if not entry.frames:
            raise DataError(f"{archive}: the weights of all examples are 0")
        entry.train = {name: value / entry.frames for name, value in total.items()}
        # They are equal already, but for processors that round in different ways.
        self.group.broadcast([*self.state_tensors(), *self._observed.values()])

    def _step(self, loss: Loss, rate: float, entry: IterationRecord) -> bool:
        """Whether the step was made; else it is counted as skipped."""
        entry.minibatches += 1
        self.stepper.zero_grad()
        if loss.ok and loss.sequences:
            loss.value.backward()
        frames, sequences, ok = self.group.sum_gradients(self.stepper.parameters, loss.frames, loss.sequences, loss.ok)
        made = ok and self.stepper.step(rate, frames, sequences)
        entry.skipped += not made
        return made

    def state_tensors(self) -> list[Tensor]:
        """What is trained."""
        return [parameter for part in self._parts for parameter in part.parameters.values()]

    @property
    def _observed(self) -> State:
        return {} if self.observers is None else self.observers.tensors()

    def observed(self) -> State:
        """Copies of what observers have found, in the main memory."""
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in self._observed.items()}

    @torch.no_grad()
    def load_observed(self, state: State) -> None:
        """Puts such copies in the place of what observers have found."""
        for name, tensor in self._observed.items():
            tensor.copy_(state[name])

    def state(self) -> State:
        """Copies of what is trained, in the main memory."""
        return {
            f"{part.name} {key}": p.detach().to("cpu", copy=True)
            for part in self._parts
            for key, p in part.parameters.items()
        }

    @torch.no_grad()
    def load(self, state: State) -> None:
        """Puts such copies in the place of what is trained."""
        for part in self._parts:
            for key, parameter in part.parameters.items():
                parameter.copy_(state[f"{part.name} {key}"])

    def synchronize(self) -> None:
        """Lets all processes begin with the network of the first one, what is not trained included."""
        self.group.broadcast(self.model.state_dict().values())
        self.group.broadcast(self._observed.values())
