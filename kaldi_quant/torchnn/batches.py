"""Minibatches that torch networks are trained on, with targets, or with the float network as the teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.host import Executable
from kaldi_quant.torchnn.calls import Call
from kaldi_quant.torchnn.data import chosen, digest_of
from kaldi_quant.train.hidden_features import HiddenTeacher
from kaldi_quant.train.loss import Loss, mean
from kaldi_quant.train.parallel.distributed import Group

#: The mean loss of a minibatch, (), from the network's output and the target.
LossFunction = Callable[[Tensor, Tensor], Tensor]


class Batches:
    """A ``Source`` of minibatches.

    Args:
        batches: inputs, each with its target; or inputs alone, where there is a teacher.
        loss: what is minimised.
        epochs: passes over all of them, each in another order.
        held_out: such minibatches for validation.
        teacher: whose output is the target; None where targets are given.
        output: which part of what the network returns is its output, if it returns several.
        seed: for the order.

    Raises:
        UsageError: there are none.
    """

    def __init__(
        self,
        batches: Sequence[Any],
        loss: LossFunction,
        epochs: int,
        held_out: Sequence[Any] = (),
        teacher: Executable | None = None,
        output: int | str | None = None,
        seed: int = 0,
    ) -> None:
        if not len(batches) or epochs < 1:
            raise UsageError("there is nothing to train on: expected a minibatch and an epoch or more")
        self.loss, self.epochs, self.teacher, self.output, self.seed = loss, epochs, teacher, output, seed
        #: Teaches by hidden layers, too; where a teacher's output is the target, the same network.
        self.hidden: HiddenTeacher | None = None
        self.batches, self.held_out = self._calls(batches), self._calls(held_out)

    def _calls(self, batches: Sequence[Any]) -> list[tuple[Call, Tensor | None]]:
        if self.teacher is not None:
            return [(Call.of(inputs), None) for inputs in batches]
        if any(not isinstance(entry, tuple | list) or len(entry) != 2 for entry in batches):
            raise UsageError("each minibatch must be a pair of inputs and target, or a teacher must be there")
        return [(Call.of(inputs), target) for inputs, target in batches]

    def __len__(self) -> int:
        """Passes."""
        return self.epochs

    @property
    def has_held_out(self) -> bool:
        """Whether there are held-out minibatches."""
        return bool(self.held_out)

    def describe(self, number: int) -> tuple[str, int]:
        """What is shown of a pass."""
        return f"{len(self.batches)} minibatches", 0

    def losses(self, number: int, model: Executable) -> Iterator[Loss]:
        """The loss of each minibatch of a pass."""
        random = np.random.default_rng((self.seed, number))
        for place in random.permutation(len(self.batches)):
            # What is drawn within, as by dropout, is the same where a training goes on after it was killed.
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(int(random.integers(1 << 62)))
                loss = self._loss(model, *self.batches[place])
            yield loss

    def _loss(self, model: Executable, call: Call, target: Tensor | None) -> Loss:
        teacher = self.teacher if self.hidden is None else self.hidden.teacher
        if teacher is not None:
            with torch.no_grad():
                taught = chosen(call.run(teacher), self.output)
            target = taught if target is None else target
        assert target is not None
        value = self.loss(chosen(call.run(model), self.output), target)
        if self.hidden is not None:
            value = self.hidden.mixed(value)
        size = len(call.tensors[0])
        return Loss(value, {"loss": float(value.detach()) * size}, size, size, size, bool(torch.isfinite(value)))

    def validate(self, model: Executable) -> dict[str, float]:
        """The mean loss on held-out minibatches; empty where there are none."""
        if not self.held_out:
            return {}
        with torch.no_grad():
            return mean([self._loss(model, *batch) for batch in self.held_out], Group())

    def objective(self, parts: dict[str, float]) -> float:
        """Minus the loss."""
        return -parts["loss"]

    def score(self, model: Executable) -> float | None:
        """Minus the loss on held-out minibatches; None where there are none."""
        return self.objective(self.validate(model)) if self.held_out else None

    def digest(self) -> str:
        """What tells the minibatches from others."""
        found = hashlib.sha256()
        for call, target in [*self.batches, *self.held_out]:
            for x in (*call.tensors, *([] if target is None else [target])):
                found.update(digest_of(x))
        return found.hexdigest()
