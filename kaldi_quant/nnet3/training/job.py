"""One job of parallel training: ``python -m kaldi_quant.nnet3.training.job STATE-IN SPECIFICATION JOB STATE-OUT``.

Trains on one archive with a fresh optimizer. What it prints is the job's log.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from kaldi_quant.errors import KaldiQuantError, UsageError, out_of_memory
from kaldi_quant.kaldi.mfcc_options import MfccOptions
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.nnet3.chain.options import ChainOptions
from kaldi_quant.nnet3.training.augmentation import AugmentationOptions
from kaldi_quant.nnet3.training.averaged_jobs import write_result
from kaldi_quant.nnet3.training.chain_source import SourceOptions
from kaldi_quant.nnet3.training.finetune import TrainingData, prepare
from kaldi_quant.processes import TerminatedError, end_with_starter, signals_raise
from kaldi_quant.train.checkpoint import read_checkpoint
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.parallel.device_context import DeviceContext, find_device
from kaldi_quant.train.record import IterationRecord
from kaldi_quant.train.steps import Trainer

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobSpecification:
    """What the jobs of an iteration share.

    Args:
        model: file of the network; its parameters are not looked at.
        data: examples and denominator.
        chain: the objective.
        source: how examples are read.
        optimizer: how parameters are changed.
        device: ``cpu`` or ``cuda``.
        bf16: whether the network computes its products in bfloat16.
        first: the pass of job 1; the others have those that follow.
        learning_rate: of each job.
    """

    model: str
    data: TrainingData
    chain: ChainOptions
    source: SourceOptions
    optimizer: OptimizerOptions
    device: str
    bf16: bool
    first: int
    learning_rate: float

    @classmethod
    def read(cls, path: Path) -> JobSpecification:
        """Reads the file that the coordinating process has written."""
        values = json.loads(path.read_text("utf-8"))
        if (changed := values["source"]["augmentation"]) is not None:
            mfcc = MfccOptions(**changed.pop("mfcc"))
            values["source"]["augmentation"] = AugmentationOptions(**changed, mfcc=mfcc)
        kinds = {"data": TrainingData, "chain": ChainOptions, "source": SourceOptions, "optimizer": OptimizerOptions}
        return cls(**{name: kinds[name](**value) if name in kinds else value for name, value in values.items()})


def run_job(state_in: Path, specification: JobSpecification, job: int, state_out: Path) -> None:
    """Trains on one archive.

    Args:
        state_in: the parameters to begin with.
        specification: of the iteration.
        job: its number, from 1 on.
        state_out: the parameters after it, and its record.

    Raises:
        KaldiQuantError: something is missing or broken, or no minibatch has a finite objective.
    """
    given = specification
    place = DeviceContext(_device(given.device, job), given.bf16)
    network, components, source = prepare(read_model(given.model), given.data, given.chain, given.source, place)
    source.goes_on = False
    trainer = Trainer(network, components, given.optimizer)
    state = read_checkpoint(state_in)
    if state is None:
        raise UsageError(f"{state_in} does not exist")
    trainer.load(state["parameters"])
    number = given.first + job - 1
    entry = IterationRecord(number, *source.describe(number), given.learning_rate)
    trainer.train(source, number, given.learning_rate, entry)
    _log.info("%s: %s per frame over %g frames", entry.archive, entry.train, entry.frames)
    write_result(state_out, trainer.state(), entry)


def _device(name: str, job: int) -> torch.device:
    """The jobs on a machine share its GPUs."""
    return find_device(name, (job - 1) % max(torch.cuda.device_count(), 1))


def main(arguments: list[str]) -> int:
    """Runs the job and returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    state_in, specification, job, state_out = arguments
    end_with_starter()
    try:
        with signals_raise():
            run_job(Path(state_in), JobSpecification.read(Path(specification)), int(job), Path(state_out))
    except TerminatedError as error:
        _log.error("ended by signal %s", error)
        return error.status
    except Exception as error:
        sentence = out_of_memory(error) or (str(error) if isinstance(error, (KaldiQuantError, OSError)) else None)
        if sentence is None:
            raise
        _log.error("%s", " ".join(sentence.split()))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
