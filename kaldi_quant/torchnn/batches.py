"""Minibatches that torch networks are trained on, with targets, or with the float network as the teacher."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.host import Executable
from kaldi_quant.torchnn.calls import Call, tensors_in
from kaldi_quant.torchnn.data import chosen, digest_of
from kaldi_quant.torchnn.penalties import Penalty, penalised
from kaldi_quant.train.hidden_features import HiddenTeacher
from kaldi_quant.train.loss import Loss, mean
from kaldi_quant.train.parallel.device_context import DeviceContext

#: What an output is compared with: a tensor, or tuples, lists and dicts of tensors, as the loss takes them.
Target = Any
#: The mean loss of a minibatch, (), from the network's output and the target.
LossFunction = Callable[[Tensor, Target], Tensor]


@dataclass(frozen=True)
class HeldOutScore:
    """What decides which network is the best, in the place of the loss of held-out minibatches.

    Args:
        name: in the record.
        measure: of the network as it is, called without gradients; the greater the better.
        digest: what tells it, and the data that it looks at, from others.
    """

    name: str
    measure: Callable[[Executable], float]
    digest: str = ""


class Passes(ABC):
    """Minibatches that are others on each pass: of examples that are shuffled, or changed at random."""

    @abstractmethod
    def __len__(self) -> int:
        """Minibatches of a pass."""

    @abstractmethod
    def minibatches(self, number: int) -> Iterable[Any]:
        """Those of a pass, counted from 0, in order: the same whenever they are asked for, in any process."""

    @abstractmethod
    def digest(self) -> str:
        """What tells them from others."""


class Batches:
    """A ``Source`` of minibatches.

    Args:
        batches: inputs, each with its target; or inputs alone, where there is a teacher. ``Passes`` are taken as they
            come.
        loss: what is minimised.
        epochs: passes over all of them, each in another order.
        held_out: such minibatches for validation.
        teacher: whose output is the target; None where targets are given.
        output: which part of what the network returns is its output, if it returns several.
        seed: for the order.
        watched: what else is told of held-out minibatches, by name, beside the loss.
        score: decides on held-out data in the place of the loss.
        penalty: of what layers give, added to the loss of training.
        place: where it is computed. Of several processes each takes its share of the rows of all tensors of a
            minibatch, whose first axis is then that of its examples; the loss must be a mean over these.

    Raises:
        UsageError: there are none.
    """

    def __init__(
        self,
        batches: Iterable[Any] | Passes,
        loss: LossFunction,
        epochs: int,
        held_out: Iterable[Any] = (),
        teacher: Executable | None = None,
        output: int | str | None = None,
        seed: int = 0,
        watched: Mapping[str, LossFunction] | None = None,
        score: HeldOutScore | None = None,
        penalty: Penalty | None = None,
        place: DeviceContext | None = None,
    ) -> None:
        self.place = place or DeviceContext()
        self.loss, self.epochs, self.teacher, self.output, self.seed = loss, epochs, teacher, output, seed
        #: Teaches by hidden layers, too; where a teacher's output is the target, the same network.
        self.hidden: HiddenTeacher | None = None
        self.watched, self.decides, self.penalty = dict(watched or {}), score, penalty
        self.batches = batches if isinstance(batches, Passes) else list(map(self._call, batches))
        self.held_out = list(map(self._call, held_out))
        if not len(self.batches) or epochs < 1:
            raise UsageError("there is nothing to train on: expected a minibatch and an epoch or more")

    def _call(self, entry: Any) -> tuple[Call, Target | None]:
        if self.teacher is not None:
            return Call.of(entry), None
        if not isinstance(entry, tuple | list) or len(entry) != 2:
            raise UsageError("each minibatch must be a pair of inputs and target, or a teacher must be there")
        return Call.of(entry[0]), entry[1]

    def __len__(self) -> int:
        """Passes."""
        return self.epochs

    @property
    def has_held_out(self) -> bool:
        """Whether there are held-out minibatches, or another score."""
        return bool(self.held_out) or self.decides is not None

    def describe(self, number: int) -> tuple[str, int]:
        """What is shown of a pass."""
        return f"{len(self.batches)} minibatches", 0

    def losses(self, number: int, model: Executable) -> Iterator[Loss]:
        """The loss of each minibatch of a pass."""
        random = np.random.default_rng((self.seed, number))
        with penalised(model, self.penalty) as penalty:
            for call, target in self._pass(number, random):
                seed = int(random.integers(1 << 62)) + self.place.group.rank
                if self.place.group.size > 1:
                    call, target = (_mapped(x, lambda rows: rows[self.place.group.share]) for x in (call, target))
                    if not len(call.tensors[0]):
                        yield Loss.none()
                        continue
                # What is drawn within, as by dropout, is the same where a training goes on after it was killed.
                with self.place.seeded(seed):
                    loss = self._loss(model, call, target)
                if self.penalty is not None:
                    loss.value = loss.value + penalty.taken()
                yield loss

    def _pass(self, number: int, random: np.random.Generator) -> Iterator[tuple[Call, Target | None]]:
        if isinstance(self.batches, Passes):
            return map(self._call, self.batches.minibatches(number))
        return (self.batches[place] for place in random.permutation(len(self.batches)))

    def _loss(
        self, model: Executable, call: Call, target: Target | None, watched: Mapping[str, LossFunction] | None = None
    ) -> Loss:
        call, target = (_mapped(x, lambda rows: rows.to(self.place.device)) for x in (call, target))
        teacher = self.teacher if self.hidden is None else self.hidden.teacher
        if teacher is not None:
            with torch.no_grad():
                taught = chosen(call.run(teacher), self.output)
            target = taught if target is None else target
        assert target is not None
        with self.place.forward():
            output = chosen(call.run(model), self.output)
        if self.place.bf16:
            output = output.float()
        value, size = self.loss(output, target), len(call.tensors[0])
        if self.hidden is not None:
            value = self.hidden.mixed(value)
        values = {"loss": value.detach(), **{name: found(output, target) for name, found in (watched or {}).items()}}
        sums = {name: float(value) * size for name, value in values.items()}
        return Loss(value, sums, size, size, size, bool(torch.isfinite(value)))

    def validate(self, model: Executable) -> dict[str, float]:
        """The mean loss on held-out minibatches, what else is watched, and the score; empty where there are none."""
        found: dict[str, float] = {}
        with torch.no_grad():
            if self.held_out:
                share = self.held_out[self.place.group.share]
                found = mean([self._loss(model, *batch, self.watched) for batch in share], self.place.group)
            if self.decides is not None:
                # That of the first process, by which all go on alike.
                found[self.decides.name] = self.place.group.gather(self.decides.measure(model))[0]
        return found

    def objective(self, parts: dict[str, float]) -> float:
        """The score that decides, or minus the loss."""
        return -parts["loss"] if self.decides is None else parts[self.decides.name]

    def score(self, model: Executable) -> float | None:
        """The score on held-out data; None where there are none."""
        return self.objective(self.validate(model)) if self.has_held_out else None

    def digest(self) -> str:
        """What tells the minibatches from others."""
        found = hashlib.sha256()
        if isinstance(self.batches, Passes):
            found.update(self.batches.digest().encode())
        for call, target in [*([] if isinstance(self.batches, Passes) else self.batches), *self.held_out]:
            for x in (*call.tensors, *tensors_in(target)):
                found.update(digest_of(x))
        if self.decides is not None:
            found.update(f"{self.decides.name} {self.decides.digest}".encode())
        if self.penalty is not None:
            found.update(repr(self.penalty).encode())
        return found.hexdigest()


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A call or target whose tensors are changed."""
    if isinstance(value, Call):
        return value.with_tensors([change(x) for x in value.tensors])
    return pytree.tree_map_only(Tensor, change, value)
