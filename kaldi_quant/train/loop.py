"""The training loop: an iteration is one pass over one archive of examples, or over several at a time."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from kaldi_quant.errors import UsageError
from kaldi_quant.heap import keeping_freed_memory
from kaldi_quant.progress import Advance, progress
from kaldi_quant.quant.host import Executable
from kaldi_quant.train.averaging import best_average
from kaldi_quant.train.checkpoint import FILE_NAME, parse_checkpoint, read_checkpoint, write_checkpoint
from kaldi_quant.train.early_stopping import Best, best_or_average, check_patience, is_best, is_over
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.parallel.distributed import Group
from kaldi_quant.train.parameters import TrainedComponent
from kaldi_quant.train.record import IterationRecord, plot_progress, write_progress
from kaldi_quant.train.schedules import Exponential, Schedule
from kaldi_quant.train.steps import Observers, Source, State, Trainer

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopOptions:
    """How training goes.

    Args:
        optimizer: how parameters are changed.
        average_last: of so many of the last iterations models are averaged, as long as it helps; 1 for none.
        freeze_after: the share of the iterations after which scales of quantization stay as they are.
        schedule: the learning rate of each iteration.
        early_stopping: training ends when the held-out score has not improved for so many iterations; 0 for never. The
            model before training does not count: the first steps improve a random one, and may spoil a trained one.
        validate_every: held-out examples are looked at after so many iterations, and after the last. Iterations in
            between count as no better ones.

    Raises:
        UsageError: a value is impossible.
    """

    optimizer: OptimizerOptions
    average_last: int = 4
    freeze_after: float = 0.8
    schedule: Schedule = field(default_factory=Exponential)
    early_stopping: int = 0
    validate_every: int = 1

    def __post_init__(self) -> None:
        if self.validate_every < 1:
            raise UsageError(f"validation after {self.validate_every} iterations: expected 1 or more")
        if self.average_last < 1:
            raise UsageError(f"--average-last {self.average_last}: expected 1 or more")
        check_patience(self.early_stopping)

    @property
    def needs_scores(self) -> bool:
        """Whether held-out scores decide anything while training goes on."""
        return bool(self.early_stopping) or self.schedule.needs_scores

    def check_held_out(self, there: bool, remedy: str = "there are none") -> None:
        """Refuses to look at held-out examples that are not there.

        Args:
            there: whether they are.
            remedy: what to do, for the message.

        Raises:
            UsageError: they are not, and an option needs them.
        """
        if self.needs_scores and not there:
            stopping = f"--early-stopping {self.early_stopping}"
            option = stopping if self.early_stopping else f"--lr-schedule {self.schedule.name}"
            raise UsageError(f"{option} needs held-out examples: {remedy}")

    def as_dict(self) -> dict[str, Any]:
        """All values, for records."""
        return {**asdict(self), "schedule": self.schedule.as_dict()}


class Iterations(Protocol):
    """What an iteration is."""

    def __len__(self) -> int:
        """How many."""

    def begin(self, iteration: int, learning_rate: float) -> IterationRecord:
        """The record of an iteration that is to be done: its examples and the learning rate of its steps."""

    def train(self, trainer: Trainer, entry: IterationRecord) -> None:
        """Does it: changes the model, and completes the record."""


@dataclass(frozen=True)
class SinglePasses:
    """Each iteration is one pass of the source.

    Args:
        source: the minibatches.
    """

    source: Source

    def __len__(self) -> int:
        """As many as the source has passes."""
        return len(self.source)

    def begin(self, iteration: int, learning_rate: float) -> IterationRecord:
        """One archive."""
        return IterationRecord(iteration, *self.source.describe(iteration), learning_rate)

    def train(self, trainer: Trainer, entry: IterationRecord) -> None:
        """In this process, or in the group that it belongs to."""
        trainer.train(self.source, entry.iteration, entry.learning_rate, entry)


class Loop:
    """Trains a model; what is there of an earlier run with the same options goes on.

    Args:
        model: is changed.
        components: of it, that are trained.
        source: the minibatches.
        options: how.
        folder: for the checkpoint and the record.
        identity: what else the result depends on, as JSON takes it: a checkpoint of another one is refused.
        frozen: of the components those that hold scales of quantization.
        group: the processes that share the work; the first of them writes.
        iterations: what is done in each; by default one pass of the source.
        observers: of the model, if it has any. Averages of models have the ranges of the last iteration.
        after: is told each iteration when it has ended, before it is in a checkpoint.

    Raises:
        UsageError: the options need held-out examples, and there are none.
    """

    def __init__(
        self,
        model: Executable,
        components: list[TrainedComponent],
        source: Source,
        options: LoopOptions,
        folder: Path,
        identity: dict[str, Any],
        frozen: list[TrainedComponent] | None = None,
        group: Group | None = None,
        iterations: Iterations | None = None,
        observers: Observers | None = None,
        after: Callable[[IterationRecord], None] | None = None,
    ) -> None:
        self.after = after
        options.check_held_out(source.has_held_out)
        self.model, self.source, self.options, self.folder = model, source, options, folder
        self.group = group or Group()
        self.trainer = Trainer(model, components, options.optimizer, frozen, self.group, observers)
        self.passes: Iterations = iterations or SinglePasses(source)
        self.iterations: list[IterationRecord] = []
        self.last: list[State] = []
        self.best: Best | None = None
        self.identity = {**identity, **options.as_dict(), "iterations": len(self.passes)}

    @property
    def _fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True, default=str).encode()).hexdigest()

    def run(self, stop_after: int | None = None) -> dict[str, Any]:
        """Trains to the end, or until held-out examples gain nothing any more.

        Args:
            stop_after: ends after so many iterations, as if killed.

        Returns:
            what the record calls the result.
        """
        with keeping_freed_memory():
            return self._run(stop_after)

    def _run(self, stop_after: int | None) -> dict[str, Any]:
        self.trainer.synchronize()
        self._resume()
        if not self.iterations:
            self.iterations.append(IterationRecord(-1, valid=self.source.validate(self.model)))
            _log.info("before training: %s", _said(self.iterations[0].valid) or "no held-out examples")
        total = len(self.passes)
        with self._progress(total) as advance:
            advance(len(self.iterations) - 1)
            for iteration in range(len(self.iterations) - 1, total):
                if is_over(self._scores, self.options.early_stopping):
                    _log.info("ending: no better held-out score for %d iterations", self.options.early_stopping)
                    break
                if stop_after is not None and iteration >= stop_after:
                    return {}
                self._iterate(iteration)
                if self.after is not None:
                    self.after(self.iterations[-1])
                self._checkpoint()
                advance(1)
        return self._finish()

    def _progress(self, total: int) -> AbstractContextManager[Advance]:
        if self.group.is_main:
            return progress(total, "training", "iterations")
        return nullcontext(lambda number, current="": None)

    @property
    def _scores(self) -> list[float]:
        """Of each iteration on held-out examples, where that decides anything; what is no number is worse than all."""
        if not self.options.needs_scores:
            return []
        return [self._score(entry.valid) for entry in self.iterations[1:]]

    def _score(self, valid: dict[str, float]) -> float:
        score = self.source.objective(valid) if valid else -math.inf
        return -math.inf if math.isnan(score) else score

    def _iterate(self, iteration: int) -> None:
        entry = self.passes.begin(iteration, self.options.schedule.rate(iteration, len(self.passes), self._scores))
        self.trainer.freeze(iteration >= self.options.freeze_after * len(self.passes))
        begin = time.monotonic()
        self.passes.train(self.trainer, entry)
        entry.seconds = round(time.monotonic() - begin, 3)
        if (iteration + 1) % self.options.validate_every == 0 or iteration + 1 == len(self.passes):
            entry.valid = self.source.validate(self.model)
        self.iterations.append(entry)
        self.last = [*self.last, self.trainer.state()][-self.options.average_last :]
        if self.options.early_stopping and is_best(self._scores):
            self.best = Best(iteration, self.last[-1], self.trainer.observed())
        _log.info(
            "iteration %d of %d, %s, learning rate %.3g: train %s%s; %.0f frames in %.1f s%s",
            iteration + 1,
            len(self.passes),
            entry.archive,
            entry.learning_rate,
            _said(entry.train),
            f"; valid {_said(entry.valid)}" if entry.valid else "",
            entry.frames,
            entry.seconds,
            f"; {entry.skipped} minibatches skipped" if entry.skipped else "",
        )

    def _checkpoint(self) -> None:
        if not self.group.is_main:
            return
        state = {
            "fingerprint": self._fingerprint,
            "parameters": self.trainer.state(),
            "stepper": self.trainer.stepper.state(),
            "observed": self.trainer.observed(),
            "last": self.last,
            "best": None if self.best is None else vars(self.best),
            "iterations": [asdict(entry) for entry in self.iterations],
        }
        write_checkpoint(self.folder / FILE_NAME, state)
        write_progress(self.folder, self.identity, self.iterations, {})

    def _resume(self) -> None:
        state = self._read()
        if state is None:
            return
        self.trainer.load(state["parameters"])
        self.trainer.stepper.load_state(state["stepper"])
        self.trainer.load_observed(state["observed"])
        self.last = state["last"]
        self.best = None if state["best"] is None else Best(**state["best"])
        self.iterations = [IterationRecord(**entry) for entry in state["iterations"]]
        _log.info("continuing after iteration %d of %d", len(self.iterations) - 1, len(self.passes))

    def _read(self) -> dict[str, Any] | None:
        """The checkpoint, which the first process reads."""
        path = self.folder / FILE_NAME
        state = read_checkpoint(path) if self.group.is_main else None
        if state is not None and state["fingerprint"] != self._fingerprint:
            raise UsageError(
                f"{path} belongs to a training with other options or another model: delete it, or choose another folder"
            )
        if self.group.size == 1:
            return state
        content = self.group.broadcast_bytes(path.read_bytes() if state is not None else None)
        return None if content is None else parse_checkpoint(content, path)

    def _finish(self) -> dict[str, Any]:
        result = self._average() if self.best is None else self._best_or_average(self.best)
        is_last = result["averaged"] == 1 and "iteration" not in result
        result["valid"] = (is_last and self.iterations[-1].valid) or self.source.validate(self.model)
        chosen = f"the average of the last {result['averaged']}"
        if "iteration" in result:
            chosen = f"iteration {result['iteration'] + 1}, the best one"
        _log.info("%s: valid %s", chosen, _said(result["valid"]) or "not computed")
        if self.group.is_main:
            write_progress(self.folder, self.identity, self.iterations, result)
            end = replace(self.iterations[-1], train={}, valid=result["valid"])
            plot_progress(self.folder, [*self.iterations, end])
        return result

    def _average(self) -> dict[str, Any]:
        """Leaves the model with the best average of the last states; returns what the record says of it."""
        last = self.source.score(self.model) if len(self.last) > 1 else None
        if last is None:
            return {"averaged": 1}

        def score(state: Any) -> float:
            self.trainer.load(state)
            value = self.source.score(self.model)
            assert value is not None
            return value

        best, averaged = best_average(self.last, score, last)
        self.trainer.load(best)
        return {"averaged": averaged}

    def _best_or_average(self, best: Best) -> dict[str, Any]:
        """Leaves the model with its best iteration, or with an average of the last ones that does better still."""
        averaged = best_or_average(self.trainer, best, self.last, lambda: self._score(self.source.validate(self.model)))
        return {"averaged": averaged} if averaged else {"averaged": 1, "iteration": best.iteration}


def _said(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.5g}" for name, value in values.items())
