"""The training loop: an iteration is one pass over one archive of examples."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.nnet.model import AcousticModel
from kaldi_quant.progress import progress
from kaldi_quant.train.averaging import best_average
from kaldi_quant.train.checkpoint import FILE_NAME, read_checkpoint, write_checkpoint
from kaldi_quant.train.objective import Loss
from kaldi_quant.train.optimizer import OptimizerOptions, Stepper
from kaldi_quant.train.parameters import TrainedComponent
from kaldi_quant.train.record import IterationRecord, plot_progress, write_progress

_log = logging.getLogger(__name__)


class Source(Protocol):
    """Where the minibatches come from."""

    def __len__(self) -> int:
        """Iterations."""

    def describe(self, iteration: int) -> tuple[str, int]:
        """The name of an iteration's examples, and their frame shift."""

    def losses(self, iteration: int, model: AcousticModel) -> Iterator[Loss]:
        """The loss of each minibatch of an iteration, computed when it is asked for."""

    def validate(self, model: AcousticModel) -> dict[str, float]:
        """The parts of the objective on held-out examples, per frame; empty where there are none."""

    def score(self, model: AcousticModel) -> float | None:
        """What averages of models are compared by, the greater the better; None where there is nothing."""


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
    """

    def __init__(
        self,
        model: AcousticModel,
        components: list[TrainedComponent],
        source: Source,
        options: LoopOptions,
        folder: Path,
        identity: dict[str, Any],
        frozen: list[TrainedComponent] | None = None,
    ) -> None:
        self.model, self.source, self.options, self.folder = model, source, options, folder
        self.components, self.frozen = components, frozen or []
        self.stepper = Stepper([*components, *self.frozen], options.optimizer)
        self.iterations: list[IterationRecord] = []
        self.last: list[dict[str, Tensor]] = []
        self.identity = {**identity, **asdict(options), "iterations": len(source)}

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
        self._resume()
        if not self.iterations:
            self.iterations.append(IterationRecord(-1, valid=self.source.validate(self.model)))
            _log.info("before training: %s", _said(self.iterations[0].valid) or "no held-out examples")
        total = len(self.source)
        with progress(total, "training", "iterations", every=0.0) as advance:
            advance(len(self.iterations) - 1)
            for iteration in range(len(self.iterations) - 1, total):
                if stop_after is not None and iteration >= stop_after:
                    return {}
                self._iterate(iteration)
                self._checkpoint()
                write_progress(self.folder, self.identity, self.iterations, {})
                advance(1)
        return self._finish()

    def _iterate(self, iteration: int) -> None:
        archive, shift = self.source.describe(iteration)
        rate = self.options.optimizer.learning_rate(iteration, len(self.source))
        frozen = iteration >= self.options.freeze_after * len(self.source)
        for part in self.frozen:
            for parameter in part.parameters.values():
                parameter.requires_grad_(not frozen)
        entry = IterationRecord(iteration, archive, shift, rate)
        begin = time.monotonic()
        for loss in self.source.losses(iteration, self.model):
            self._step(loss, rate, entry)
        entry.seconds = round(time.monotonic() - begin, 3)
        if entry.skipped == entry.minibatches:
            raise DataError(f"{archive}: no minibatch has a finite objective: is the learning rate {rate:g} too high?")
        entry.train = {name: value / entry.frames for name, value in entry.train.items()}
        entry.valid = self.source.validate(self.model)
        self.iterations.append(entry)
        self.last = [*self.last, self._state()][-self.options.average_last :]
        _log.info(
            "iteration %d of %d, %s, learning rate %.3g: train %s%s; %.0f frames in %.1f s%s",
            iteration + 1,
            len(self.source),
            archive,
            rate,
            _said(entry.train),
            f"; valid {_said(entry.valid)}" if entry.valid else "",
            entry.frames,
            entry.seconds,
            f"; {entry.skipped} minibatches skipped" if entry.skipped else "",
        )

    def _step(self, loss: Loss, rate: float, entry: IterationRecord) -> None:
        entry.minibatches += 1
        self.stepper.zero_grad()
        if loss.ok:
            loss.value.backward()
        if not loss.ok or not self.stepper.step(rate, loss.weight, loss.sequences):
            entry.skipped += 1
            return
        entry.frames += loss.weight
        for name, value in loss.sums.items():
            entry.train[name] = entry.train.get(name, 0.0) + value

    def _state(self) -> dict[str, Tensor]:
        parts = [*self.components, *self.frozen]
        return {f"{part.name} {key}": p.detach().clone() for part in parts for key, p in part.parameters.items()}

    @torch.no_grad()
    def _load(self, state: dict[str, Tensor]) -> None:
        for part in [*self.components, *self.frozen]:
            for key, parameter in part.parameters.items():
                parameter.copy_(state[f"{part.name} {key}"])

    def _checkpoint(self) -> None:
        state = {
            "fingerprint": self._fingerprint,
            "parameters": self._state(),
            "stepper": self.stepper.state(),
            "last": self.last,
            "iterations": [asdict(entry) for entry in self.iterations],
        }
        write_checkpoint(self.folder / FILE_NAME, state)

    def _resume(self) -> None:
        state = read_checkpoint(self.folder / FILE_NAME)
        if state is None:
            return
        if state["fingerprint"] != self._fingerprint:
            raise UsageError(
                f"{self.folder / FILE_NAME} is of a training with other options or another model: delete it, or "
                "choose another folder"
            )
        self._load(state["parameters"])
        self.stepper.load_state(state["stepper"])
        self.last = state["last"]
        self.iterations = [IterationRecord(**entry) for entry in state["iterations"]]
        _log.info("going on after iteration %d of %d", len(self.iterations) - 1, len(self.source))

    def _finish(self) -> dict[str, Any]:
        result: dict[str, Any] = {"averaged": 1}
        scored = len(self.last) > 1 and self.source.score(self.model) is not None

        def score(state: Any) -> float:
            self._load(state)
            value = self.source.score(self.model)
            assert value is not None
            return value

        if scored:
            best, result["averaged"] = best_average(self.last, score)
            self._load(best)
        result["valid"] = self.source.validate(self.model)
        _log.info("the average of the last %d: valid %s", result["averaged"], _said(result["valid"]) or "not computed")
        write_progress(self.folder, self.identity, self.iterations, result)
        plot_progress(self.folder, [*self.iterations, replace(self.iterations[-1], train={}, valid=result["valid"])])
        return result


def _said(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.5g}" for name, value in values.items())
