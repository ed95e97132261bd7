"""The training loop: an iteration is one pass over one archive of examples, or over several at a time."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from kaldi_quant.errors import UsageError
from kaldi_quant.progress import Advance, progress
from kaldi_quant.quant.host import Executable
from kaldi_quant.train.averaging import best_average
from kaldi_quant.train.checkpoint import FILE_NAME, parse_checkpoint, read_checkpoint, write_checkpoint
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.parallel.distributed import Group
from kaldi_quant.train.parameters import TrainedComponent
from kaldi_quant.train.record import IterationRecord, plot_progress, write_progress
from kaldi_quant.train.steps import Observers, Source, State, Trainer

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopOptions:
    """How training goes.

    Args:
        optimizer: how parameters are changed.
        average_last: of so many of the last iterations models are averaged, as long as it helps; 1 for none.
        freeze_after: the share of the iterations after which scales of quantization stay as they are.
    """

    optimizer: OptimizerOptions
    average_last: int = 4
    freeze_after: float = 0.8

    def __post_init__(self) -> None:
        if self.average_last < 1:
            raise UsageError(f"--average-last {self.average_last}: expected 1 or more")


class Iterations(Protocol):
    """What an iteration is."""

    def __len__(self) -> int:
        """How many."""

    def begin(self, iteration: int) -> IterationRecord:
        """The record of an iteration that is to be done: its examples and its learning rate."""

    def train(self, trainer: Trainer, entry: IterationRecord) -> None:
        """Does it: changes the model, and completes the record."""


@dataclass(frozen=True)
class SinglePasses:
    """Each iteration is one pass of the source.

    Args:
        source: the minibatches.
        options: learning rates.
    """

    source: Source
    options: OptimizerOptions

    def __len__(self) -> int:
        """As many as the source has passes."""
        return len(self.source)

    def begin(self, iteration: int) -> IterationRecord:
        """One archive."""
        return IterationRecord(
            iteration, *self.source.describe(iteration), self.options.learning_rate(iteration, len(self))
        )

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
    ) -> None:
        self.model, self.source, self.options, self.folder = model, source, options, folder
        self.group = group or Group()
        self.trainer = Trainer(model, components, options.optimizer, frozen, self.group, observers)
        self.passes: Iterations = iterations or SinglePasses(source, options.optimizer)
        self.iterations: list[IterationRecord] = []
        self.last: list[State] = []
        self.identity = {**identity, **asdict(options), "iterations": len(self.passes)}

    @property
    def _fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True, default=str).encode()).hexdigest()

    def run(self, stop_after: int | None = None) -> dict[str, Any]:
        """Trains to the end.

        Args:
            stop_after: ends after so many iterations, as if killed.

        Returns:
            what the record calls the result.
        """
        self.trainer.synchronize()
        self._resume()
        if not self.iterations:
            self.iterations.append(IterationRecord(-1, valid=self.source.validate(self.model)))
            _log.info("before training: %s", _said(self.iterations[0].valid) or "no held-out examples")
        total = len(self.passes)
        with self._progress(total) as advance:
            advance(len(self.iterations) - 1)
            for iteration in range(len(self.iterations) - 1, total):
                if stop_after is not None and iteration >= stop_after:
                    return {}
                self._iterate(iteration)
                self._checkpoint()
                advance(1)
        return self._finish()

    def _progress(self, total: int) -> AbstractContextManager[Advance]:
        if self.group.is_main:
            return progress(total, "training", "iterations")
        return nullcontext(lambda number, current="": None)

    def _iterate(self, iteration: int) -> None:
        entry = self.passes.begin(iteration)
        self.trainer.freeze(iteration >= self.options.freeze_after * len(self.passes))
        begin = time.monotonic()
        self.passes.train(self.trainer, entry)
        entry.seconds = round(time.monotonic() - begin, 3)
        entry.valid = self.source.validate(self.model)
        self.iterations.append(entry)
        self.last = [*self.last, self.trainer.state()][-self.options.average_last :]
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
        self.trainer.load_observed(state.get("observed", {}))
        self.last = state["last"]
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
        result: dict[str, Any] = {"averaged": 1}
        scored = len(self.last) > 1 and self.source.score(self.model) is not None

        def score(state: Any) -> float:
            self.trainer.load(state)
            value = self.source.score(self.model)
            assert value is not None
            return value

        if scored:
            best, result["averaged"] = best_average(self.last, score)
            self.trainer.load(best)
        result["valid"] = self.source.validate(self.model)
        _log.info("the average of the last %d: valid %s", result["averaged"], _said(result["valid"]) or "not computed")
        if self.group.is_main:
            write_progress(self.folder, self.identity, self.iterations, result)
            end = replace(self.iterations[-1], train={}, valid=result["valid"])
            plot_progress(self.folder, [*self.iterations, end])
        return result


def _said(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.5g}" for name, value in values.items())
