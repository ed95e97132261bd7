"""Kaldi's parallel training: jobs go on from the same parameters, each with an archive of its own, and are averaged.

One thing differs from Kaldi: the first iteration is averaged, too. Kaldi takes the best model there, because networks
that change fast are not averaged well; here training begins with a trained one.
Source: ``train_one_iteration`` in ``steps/libs/nnet3/train/chain_objf/acoustic_model.py``; ``get_learning_rate`` and
``get_successful_models`` in ``steps/libs/nnet3/train/common.py``.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.train.averaging import average
from kaldi_quant.train.checkpoint import read_checkpoint, write_checkpoint
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.record import IterationRecord
from kaldi_quant.train.steps import Source, State, Trainer

_log = logging.getLogger(__name__)

#: Stands for a job's number, from 1 on, in commands and in the names of log files.
JOB = "JOB"
#: Runs jobs 1 to n: is given n, the log file's path and the command, and returns the jobs that failed, each with why.
RunJobs = Callable[[int, Path, list[str]], dict[int, str]]

# A model whose objective per frame is by more than this below the best one's is left out of the average.
_LARGEST_DIFFERENCE = 1.0


@dataclass(frozen=True)
class ParallelJobs:
    """How jobs are run.

    Args:
        number: at a time.
        run: on this machine, or through queue.pl and its like.
    """

    number: int
    run: RunJobs

    def __post_init__(self) -> None:
        if self.number < 1:
            raise UsageError(f"--num-jobs {self.number}: expected 1 or more")


class AveragedJobs:
    """Each iteration is as many passes of a source as there are jobs; the last one may be fewer.

    Args:
        source: whose passes these are.
        options: of the training. With sgd the jobs' learning rate is multiplied by their number, as the average moves
            by the mean of their steps, and l2-regularize divided by it; adam's, whose steps do not add up like that,
            are not.
        jobs: how they are run.
        folder: for parameters on their way to and from jobs, and for logs.
        specification: what jobs have to know, but for the iteration: see ``kaldi_quant.nnet3.training.job``.

    Raises:
        UsageError: there are more jobs than passes, a warm-up, which each job would begin anew, or the folder's name
            would be taken for the number of a job.
    """

    def __init__(
        self, source: Source, options: OptimizerOptions, jobs: ParallelJobs, folder: Path, specification: dict[str, Any]
    ) -> None:
        if jobs.number > len(source):
            raise UsageError(
                f"--num-jobs {jobs.number} is more than archives times --num-epochs, which are {len(source)}"
            )
        if options.warm_up:
            raise UsageError(
                f"--warm-up {options.warm_up}: cannot be combined with --num-jobs, whose jobs would each start it again"
            )
        if JOB in str(folder):
            raise UsageError(
                f"{folder}: the name contains {JOB}, which stands for the number of a job; choose another folder"
            )
        self.source, self.options, self.jobs = source, options, jobs
        self.folder, self.specification = folder, specification

    def __len__(self) -> int:
        """Iterations."""
        return math.ceil(len(self.source) / self.jobs.number)

    def _passes(self, iteration: int) -> range:
        first = iteration * self.jobs.number
        return range(first, min(first + self.jobs.number, len(self.source)))

    def begin(self, iteration: int, learning_rate: float) -> IterationRecord:
        """All archives, the frame shift of the first one, and the learning rate of each job."""
        archives, shifts = zip(*(self.source.describe(number) for number in self._passes(iteration)), strict=True)
        jobs = len(archives) if self.options.kind.sums_gradients else 1
        return IterationRecord(iteration, ", ".join(archives), shifts[0], learning_rate * jobs)

    def _of_a_job(self, jobs: int) -> OptimizerOptions:
        if not self.options.kind.sums_gradients:
            return self.options
        return replace(self.options, l2_factor=self.options.l2_factor / jobs)

    def train(self, trainer: Trainer, entry: IterationRecord) -> None:
        """Runs the jobs and averages what they have made.

        Raises:
            DataError: a job has failed; names its log.
        """
        passes, work = self._passes(entry.iteration), self.folder / "jobs"
        start, plan = work / f"{entry.iteration}.pt", work / f"{entry.iteration}.json"
        results = [work / f"{entry.iteration + 1}.{job}.pt" for job in range(1, len(passes) + 1)]
        for path in results:
            path.unlink(missing_ok=True)
        write_checkpoint(start, {"parameters": trainer.state()})
        with atomic_write(plan, "w") as stream:
            json.dump(
                {
                    **self.specification,
                    "optimizer": asdict(self._of_a_job(len(passes))),
                    "first": passes[0],
                    "learning_rate": entry.learning_rate,
                },
                stream,
            )
        output = work / f"{entry.iteration + 1}.{JOB}.pt"
        log = self.folder / "log" / f"train.{entry.iteration}.{JOB}.log"
        command = [sys.executable, "-m", "kaldi_quant.nnet3.training.job", str(start), str(plan), JOB, str(output)]
        for job, reason in self.jobs.run(len(passes), log, command).items():
            place = str(log).replace(JOB, str(job))
            raise DataError(f"iteration {entry.iteration + 1}: job {job} failed: {reason}; see {place}")
        states, records = zip(*(_read(path) for path in results), strict=True)
        trainer.load(average(_successful(states, records)))
        _add_up(records, entry)
        for path in (start, plan, *results):
            path.unlink(missing_ok=True)


def _read(path: Path) -> tuple[State, IterationRecord]:
    result = read_checkpoint(path)
    if result is None:
        raise DataError(f"{path}: the job that should have written it ended well, and the file is not there")
    return result["parameters"], IterationRecord(**result["record"])


def write_result(path: Path, state: State, record: IterationRecord) -> None:
    """Writes what a job has made."""
    write_checkpoint(path, {"parameters": state, "record": asdict(record)})


def _successful(states: tuple[State, ...], records: tuple[IterationRecord, ...]) -> list[State]:
    objectives = [record.train["output"] for record in records]
    found = [
        state
        for state, objective in zip(states, objectives, strict=True)
        if max(objectives) - objective <= _LARGEST_DIFFERENCE
    ]
    if len(found) < len(states):
        _log.warning("averaging only %d of %d models: the objective of the others is too low", len(found), len(states))
    return found


def _add_up(records: tuple[IterationRecord, ...], entry: IterationRecord) -> None:
    entry.frames = sum(record.frames for record in records)
    entry.minibatches = sum(record.minibatches for record in records)
    entry.skipped = sum(record.skipped for record in records)
    entry.train = {
        name: sum(record.train[name] * record.frames for record in records) / entry.frames for name in records[0].train
    }
