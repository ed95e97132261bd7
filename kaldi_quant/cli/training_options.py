"""Options of training, shared by the verbs that train."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kaldi_quant.cli.options import grouped_options, kaldi_bool_option
from kaldi_quant.errors import UsageError

if TYPE_CHECKING:
    from kaldi_quant.train.chain.options import ChainOptions
    from kaldi_quant.train.loop import LoopOptions
    from kaldi_quant.train.parallel.averaged_jobs import ParallelJobs
    from kaldi_quant.train.sources.augmentation import AugmentationOptions
    from kaldi_quant.train.sources.chain_source import SourceOptions

# Jobs that run beside each other have a processor each.
_ONE_THREAD = {"OMP_NUM_THREADS": "1"}

_OPTIONS = (
    click.option("--den-fst", metavar="FST", help="The denominator; by default den.fst beside MODEL."),
    click.option("--num-epochs", type=int, default=3, show_default=True, help="Passes over all examples."),
    click.option("--minibatch-size", default="64", show_default=True, help="As nnet3-chain-merge-egs takes it."),
    click.option("--lr-initial", type=float, default=1e-4, show_default=True, help="Learning rate at the beginning."),
    click.option("--lr-final", type=float, default=1e-5, show_default=True, help="Learning rate at the end."),
    click.option(
        "--optimizer",
        type=click.Choice(["adam", "sgd"]),
        default="adam",
        show_default=True,
        help="sgd: learning rates as Kaldi's, for gradients summed over a minibatch.",
    ),
    click.option("--momentum", type=float, default=0.0, show_default=True, help="Of sgd."),
    click.option(
        "--clip-norm", type=float, default=5.0, show_default=True, help="Largest norm of the gradient; 0: any."
    ),
    click.option(
        "--max-param-change",
        type=float,
        default=2.0,
        show_default=True,
        help="Of 'train': the largest norm of a step; components have their own max-change; 0 for neither.",
    ),
    click.option(
        "--warm-up",
        type=int,
        default=0,
        show_default=True,
        metavar="STEPS",
        help="Over so many steps at the beginning the learning rate grows, in proportion to them.",
    ),
    click.option("--average-last", type=int, default=4, show_default=True, help="Average so many last iterations."),
    click.option("--leaky-hmm-coefficient", type=float, default=0.1, show_default=True, help="Of the denominator."),
    click.option(
        "--xent-regularize", type=float, default=0.1, show_default=True, help="Of 'train': weight of output-xent."
    ),
    click.option("--l2-regularize", type=float, default=0.0, show_default=True, help="Penalty on the squared output."),
    click.option("--out-of-range-regularize", type=float, default=0.01, show_default=True, help="Beyond ±30."),
    kaldi_bool_option(
        "--apply-deriv-weights", default=True, help="Heed the weights that examples have for frames' derivatives."
    ),
    click.option(
        "--srand", type=click.IntRange(min=0), default=0, show_default=True, help="Decides all that is random."
    ),
    click.option(
        "--vtlp",
        type=float,
        default=0.0,
        show_default=True,
        metavar="SHARE",
        help="Other speakers: frequencies are stretched at random by up to so much, such as 0.1.",
    ),
    click.option(
        "--filter-augment",
        type=float,
        default=0.0,
        show_default=True,
        metavar="DB",
        help="Other channels: frequencies are amplified at random by up to so many decibels, such as 4.",
    ),
    click.option("--mfcc-config", metavar="FILE", help="How the features were made, for these two."),
    click.option("--device", default="cpu", show_default=True, metavar="cpu|cuda", help="What computes."),
    kaldi_bool_option("--bf16", default=False, help="Compute the trained network's products in bfloat16."),
    click.option(
        "--num-jobs",
        type=int,
        default=1,
        show_default=True,
        help="Train on so many archives at a time and average the models, as Kaldi does.",
    ),
    click.option("--cmd", metavar="COMMAND", help="Runs these jobs: run.pl, queue.pl with options; by default here."),
)


@dataclass(frozen=True)
class TrainingArguments:
    """The values of these options."""

    den_fst: str | None
    num_epochs: int
    minibatch_size: str
    lr_initial: float
    lr_final: float
    optimizer: str
    momentum: float
    clip_norm: float
    max_param_change: float
    warm_up: int
    average_last: int
    leaky_hmm_coefficient: float
    xent_regularize: float
    l2_regularize: float
    out_of_range_regularize: float
    apply_deriv_weights: bool
    srand: int
    vtlp: float
    filter_augment: float
    mfcc_config: str | None
    device: str
    bf16: bool
    num_jobs: int
    cmd: str | None

    def __post_init__(self) -> None:
        """Refuses impossible values before anything else is read.

        Raises:
            UsageError: there is one.
        """
        self.chain(), self.source(), self.loop(), self.jobs()

    def denominator(self, model: str) -> str:
        """The path of the denominator, by default beside the model."""
        return self.den_fst or str(Path(model).parent / "den.fst")

    def chain(self) -> ChainOptions:
        """Of the objective."""
        from kaldi_quant.train.chain.options import ChainOptions

        return ChainOptions(
            self.leaky_hmm_coefficient,
            self.xent_regularize,
            self.l2_regularize,
            self.out_of_range_regularize,
            self.apply_deriv_weights,
        )

    def source(self) -> SourceOptions:
        """Of reading examples."""
        from kaldi_quant.train.sources.chain_source import SourceOptions

        return SourceOptions(self.num_epochs, self.minibatch_size, self.srand, self._augmentation())

    def _augmentation(self) -> AugmentationOptions | None:
        if not self.vtlp and not self.filter_augment:
            return None
        if self.mfcc_config is None:
            raise UsageError("--vtlp and --filter-augment change cepstra: give --mfcc-config, such as mfcc_hires.conf")
        from kaldi_quant.kaldi.mfcc_options import read_mfcc_config
        from kaldi_quant.train.sources.augmentation import AugmentationOptions

        return AugmentationOptions(self.vtlp, self.filter_augment, read_mfcc_config(self.mfcc_config))

    def loop(self) -> LoopOptions:
        """Of the loop."""
        from kaldi_quant.train.loop import LoopOptions
        from kaldi_quant.train.optimizer import OptimizerOptions

        optimizer = OptimizerOptions(
            self.optimizer,
            self.lr_initial,
            self.lr_final,
            self.momentum,
            self.clip_norm,
            self.max_param_change,
            self.warm_up,
        )
        return LoopOptions(optimizer, self.average_last, freeze_after=1.0)

    def jobs(self) -> ParallelJobs | None:
        """How several archives are trained on at a time; None where they are not."""
        if self.num_jobs == 1:
            return None
        from kaldi_quant.decode.jobs import JobArray, run_jobs, tail
        from kaldi_quant.train.parallel.averaged_jobs import JOB, ParallelJobs

        def run(number: int, log: Path, command: list[str]) -> dict[int, str]:
            array = JobArray(JOB, list(range(1, number + 1)), str(log), command, _ONE_THREAD)
            failures = run_jobs(array, self.cmd, lambda: None)
            return {failure.job: tail(array.log_of(failure.job)) or failure.reason for failure in failures}

        return ParallelJobs(self.num_jobs, run)


#: Decorator: the verb gets these options, and their values as its argument ``training``.
training_options = grouped_options("training", TrainingArguments, _OPTIONS)


def placed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator, inside of ``training_options``: the verb gets its argument ``place``, where training is computed.

    Under torchrun the verb runs in all processes, and what goes wrong in one ends all.
    """

    @functools.wraps(function)
    def verb(*, training: TrainingArguments, **values: Any) -> Any:
        from kaldi_quant.train.parallel.place import find_place

        with find_place(training.device, training.bf16) as place:
            return function(training=training, place=place, **values)

    return verb
