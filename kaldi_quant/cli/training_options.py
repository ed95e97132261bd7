"""Options of training, shared by the verbs that train."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kaldi_quant.cli.options import grouped_options, kaldi_bool_option
from kaldi_quant.cores import threads_of_jobs
from kaldi_quant.errors import UsageError
from kaldi_quant.train.optimizer_kinds import OPTIMIZERS
from kaldi_quant.train.schedules import SCHEDULES, defaults_of, schedule_of

if TYPE_CHECKING:
    from kaldi_quant.nnet3.chain.options import ChainOptions
    from kaldi_quant.nnet3.training.augmentation import AugmentationOptions
    from kaldi_quant.nnet3.training.averaged_jobs import ParallelJobs
    from kaldi_quant.nnet3.training.chain_source import SourceOptions
    from kaldi_quant.train.loop import LoopOptions


def _schedule_option(field: str, kind: type, metavar: str | None, text: str) -> Callable[..., Any]:
    """An option that some schedules have; the help says which, and their defaults."""
    defaults = defaults_of(field)
    values = " and ".join(dict.fromkeys(f"{value:g}" for value in defaults.values()))
    help = f"For {', '.join(defaults)}: {text}; by default, {values}."
    return click.option(f"--lr-{field}", type=kind, metavar=metavar, help=help)


_PLACE = (
    click.option("--device", default="cpu", show_default=True, metavar="cpu|cuda", help="Where to train."),
    kaldi_bool_option("--bf16", default=False, help="Compute the matrix products of the network in bfloat16."),
)
_OPTIONS = (
    click.option(
        "--den-fst",
        metavar="FST",
        help="The denominator graph; by default, den.fst in the folder of MODEL, or for chain2 in EGS-DIR/misc.",
    ),
    click.option(
        "--num-epochs", type=int, default=3, show_default=True, help="Number of passes over the training data."
    ),
    click.option(
        "--minibatch-size", default="64", show_default=True, help="Minibatch size, as for nnet3-chain-merge-egs."
    ),
    click.option("--lr-initial", type=float, default=1e-4, show_default=True, help="Initial learning rate."),
    click.option(
        "--lr-schedule",
        type=click.Choice(list(SCHEDULES)),
        default="exponential",
        show_default=True,
        help="How the learning rate changes; an iteration is a pass over one archive.",
    ),
    _schedule_option("final", float, None, "final learning rate, with plateau the lowest one"),
    _schedule_option("every", int, "N", "change the learning rate every N iterations"),
    _schedule_option("patience", int, "N", "change it after N iterations without a better held-out score"),
    _schedule_option("factor", float, None, "multiply it by this"),
    click.option(
        "--optimizer",
        type=click.Choice(list(OPTIMIZERS)),
        default="adam",
        show_default=True,
        help="With sgd, learning rates are like Kaldi's: for gradients summed over the minibatch.",
    ),
    click.option("--momentum", type=float, default=0.0, show_default=True, help="Momentum of sgd."),
    kaldi_bool_option("--amsgrad", default=False, help="For adam: use its variant AMSGrad."),
    click.option(
        "--weight-decay",
        type=float,
        default=0.0,
        show_default=True,
        help="For adam: shrink the parameters by this times the learning rate in each step, as AdamW does.",
    ),
    click.option(
        "--clip-norm",
        type=float,
        default=5.0,
        show_default=True,
        help="Clip the norm of the gradient to this; 0: no clipping.",
    ),
    click.option(
        "--max-param-change",
        type=float,
        default=2.0,
        show_default=True,
        help="For 'train': limit on the norm of each update, besides the max-change of each component; 0: neither.",
    ),
    click.option(
        "--warm-up",
        type=int,
        default=0,
        show_default=True,
        metavar="STEPS",
        help="Increase the learning rate linearly over this many steps at the beginning.",
    ),
    click.option(
        "--average-last",
        type=int,
        default=4,
        show_default=True,
        help="Average the models of this many last iterations.",
    ),
    click.option(
        "--early-stopping",
        type=int,
        default=0,
        show_default=True,
        metavar="N",
        help="End after N iterations without a better held-out score, and take the best iteration; 0: never.",
    ),
    click.option(
        "--leaky-hmm-coefficient",
        type=float,
        default=0.1,
        show_default=True,
        help="Leaky-HMM coefficient of the denominator.",
    ),
    click.option(
        "--xent-regularize",
        type=float,
        default=0.1,
        show_default=True,
        help="For 'train': weight of the cross-entropy output, output-xent.",
    ),
    click.option(
        "--l2-regularize", type=float, default=0.0, show_default=True, help="Penalty on the squares of the outputs."
    ),
    click.option(
        "--out-of-range-regularize", type=float, default=0.01, show_default=True, help="Penalty on outputs beyond ±30."
    ),
    kaldi_bool_option(
        "--apply-deriv-weights", default=True, help="Weight the derivatives of each frame as the examples say."
    ),
    click.option(
        "--srand", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all random numbers."
    ),
    click.option(
        "--vtlp",
        type=float,
        default=0.0,
        show_default=True,
        metavar="SHARE",
        help="Vocal tract length perturbation: stretch frequencies at random by up to this share, such as 0.1.",
    ),
    click.option(
        "--filter-augment",
        type=float,
        default=0.0,
        show_default=True,
        metavar="DB",
        help="Random channels: amplify or attenuate frequency bands by up to this many decibels, such as 4.",
    ),
    click.option(
        "--mfcc-config", metavar="FILE", help="The mfcc.conf of the features, needed by --vtlp and --filter-augment."
    ),
    *_PLACE,
    click.option(
        "--num-jobs",
        type=int,
        default=1,
        show_default=True,
        help="Train on this many archives in parallel and average the models, as Kaldi does.",
    ),
    click.option(
        "--cmd",
        metavar="COMMAND",
        help="What runs these jobs, such as run.pl or queue.pl with options; by default, they run on this machine.",
    ),
)


@dataclass(frozen=True)
class TrainingArguments:
    """The values of these options."""

    den_fst: str | None
    num_epochs: int
    minibatch_size: str
    lr_initial: float
    lr_final: float | None
    lr_schedule: str
    lr_every: int | None
    lr_patience: int | None
    lr_factor: float | None
    optimizer: str
    momentum: float
    amsgrad: bool
    weight_decay: float
    clip_norm: float
    max_param_change: float
    warm_up: int
    average_last: int
    early_stopping: int
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

    def denominator(self, model: str, egs: str) -> str:
        """The path of the denominator, by default beside the model, or else where chain2's examples have it."""
        from kaldi_quant.nnet3.training.finetune import find_denominator

        return self.den_fst or find_denominator(model, egs)

    def chain(self) -> ChainOptions:
        """Of the objective."""
        from kaldi_quant.nnet3.chain.options import ChainOptions

        return ChainOptions(
            self.leaky_hmm_coefficient,
            self.xent_regularize,
            self.l2_regularize,
            self.out_of_range_regularize,
            self.apply_deriv_weights,
        )

    def source(self) -> SourceOptions:
        """Of reading examples."""
        from kaldi_quant.nnet3.training.chain_source import SourceOptions

        return SourceOptions(self.num_epochs, self.minibatch_size, self.srand, self._augmentation())

    def _augmentation(self) -> AugmentationOptions | None:
        if not self.vtlp and not self.filter_augment:
            if self.mfcc_config is not None:
                raise UsageError("--mfcc-config has no effect without --vtlp or --filter-augment")
            return None
        if self.mfcc_config is None:
            raise UsageError("--vtlp and --filter-augment need --mfcc-config, such as conf/mfcc_hires.conf")
        from kaldi_quant.kaldi.mfcc_options import read_mfcc_config
        from kaldi_quant.nnet3.training.augmentation import AugmentationOptions

        return AugmentationOptions(self.vtlp, self.filter_augment, read_mfcc_config(self.mfcc_config))

    def loop(self) -> LoopOptions:
        """Of the loop."""
        from kaldi_quant.train.loop import LoopOptions
        from kaldi_quant.train.optimizer import OptimizerOptions

        schedule = schedule_of(
            self.lr_schedule,
            self.lr_initial,
            final=self.lr_final,
            every=self.lr_every,
            patience=self.lr_patience,
            factor=self.lr_factor,
        )
        optimizer = OptimizerOptions(
            self.optimizer,
            momentum=self.momentum,
            clip_norm=self.clip_norm,
            max_param_change=self.max_param_change,
            warm_up=self.warm_up,
            amsgrad=self.amsgrad,
            weight_decay=self.weight_decay,
        )
        return LoopOptions(optimizer, self.average_last, 1.0, schedule, self.early_stopping)

    def jobs(self, threads: int = 0) -> ParallelJobs | None:
        """How several archives are trained on at a time; None where they are not.

        Args:
            threads: of each job, no more than its share of the cores where jobs run on this machine; 0 for one.
        """
        if self.num_jobs == 1:
            return None
        from kaldi_quant.decode.jobs import JobArray, run_jobs
        from kaldi_quant.job_log import tail
        from kaldi_quant.nnet3.training.averaged_jobs import JOB, ParallelJobs

        def run(number: int, log: Path, command: list[str]) -> dict[int, str]:
            variables = threads_of_jobs(number, threads, here=(self.cmd or "run.pl").split()[0] == "run.pl")
            array = JobArray(JOB, list(range(1, number + 1)), str(log), command, variables)
            failures = run_jobs(array, self.cmd, lambda: None)
            return {failure.job: tail(array.log_of(failure.job)) or failure.reason for failure in failures}

        return ParallelJobs(self.num_jobs, run)


#: Decorator: the verb gets these options, and their values as its argument ``training``.
training_options = grouped_options("training", TrainingArguments, _OPTIONS)


def place_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options ``--device`` and ``--bf16`` alone, as arguments of these names."""
    for option in reversed(_PLACE):
        function = option(function)
    return function


def placed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator, inside of ``training_options``: the verb gets its argument ``place``, where training is computed.

    Under torchrun the verb runs in all processes, and what goes wrong in one ends all.
    """

    @functools.wraps(function)
    def verb(*, training: TrainingArguments, **values: Any) -> Any:
        from kaldi_quant.train.parallel.device_context import device_context

        with device_context(training.device, training.bf16) as place:
            return function(training=training, place=place, **values)

    return verb
