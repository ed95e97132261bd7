"""Options of quantization-aware training, and of the widths that are learned before it: shared by verb and recipe."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from kaldi_quant.cli.options import grouped_options
from kaldi_quant.cli.quantization_options import QuantizationArguments
from kaldi_quant.cli.training_options import TrainingArguments
from kaldi_quant.errors import UsageError

if TYPE_CHECKING:
    from kaldi_quant.train.qat.learned_widths import WidthOptions
    from kaldi_quant.train.qat.options import QatOptions

_OPTIONS = (
    click.option(
        "--distillation",
        type=float,
        help="Share of distillation in the loss, 0 to 1; by default, 0.5 with --egs-dir, 1 without.",
    ),
    click.option("--temperature", type=float, default=1.0, show_default=True, help="Temperature of distillation."),
    click.option(
        "--hard-weight",
        type=float,
        default=0.0,
        show_default=True,
        help="Exponent by which utterances with a larger loss count more in distillation; 0: all count alike.",
    ),
    click.option(
        "--feature-weight",
        type=float,
        default=0.0,
        show_default=True,
        help="Weight of the error in hidden layers, in addition to that in the output.",
    ),
    click.option(
        "--teacher", metavar="MODEL", help="The model whose output is learned; by default, MODEL itself in float."
    ),
    click.option("--held-out", metavar="RSPECIFIER", help="Features for validation when training without --egs-dir."),
    click.option(
        "--method",
        default="lsq",
        show_default=True,
        help="lsq: learn the scales; fixed: keep the calibrated scales; recomputed: find those of weights at every "
        "step and those of activations for every minibatch, with --weights values. Not for the presets torch-*.",
    ),
    click.option(
        "--freeze-after",
        type=float,
        default=0.8,
        show_default=True,
        help="Keep scales fixed after this share of the training.",
    ),
    click.option(
        "--weights",
        default="steps",
        show_default=True,
        help="steps: learn each weight's place between the integers of its grid; values: learn the weights themselves, "
        "in float. Not for the presets torch-*.",
    ),
)

_WIDTH_OPTIONS = (
    click.option(
        "--learn-widths",
        metavar="BUDGET",
        help='First learn the width of each layer, within a mean number of bits per weight such as "3 bits".',
    ),
    click.option(
        "--widths", metavar="LIST", help="The widths to choose from with --learn-widths; by default, 2,3,4,5,6,8."
    ),
    click.option(
        "--width-epochs", type=int, metavar="N", help="Number of epochs for --learn-widths; by default, --num-epochs."
    ),
)

# Of the preset that a network with learned widths is quantized by: in the middle of what is chosen from.
_MIDDLE_WIDTH = 4


@dataclass(frozen=True)
class QatArguments:
    """The values of these options."""

    distillation: float | None
    temperature: float
    hard_weight: float
    feature_weight: float
    teacher: str | None
    held_out: str | None
    method: str
    freeze_after: float
    weights: str

    def __post_init__(self) -> None:
        """Refuses impossible values before anything is read.

        Raises:
            UsageError: there is one.
        """
        from kaldi_quant.train.distillation import check_weights

        check_weights(self.temperature, self.distillation or 0.0, self.hard_weight, self.feature_weight)
        self.options()
        if self.feature_weight and self.teacher:
            raise UsageError("--feature-weight: hidden layers can be compared with the model's own alone")

    def options(self) -> QatOptions:
        """What becomes of scales and weights.

        Raises:
            UsageError: a value is impossible.
        """
        from kaldi_quant.train.qat.options import QatOptions

        return QatOptions(self.method, self.freeze_after, self.weights)

    def as_dict(self) -> dict[str, Any]:
        """All values, for records and for what tells trainings apart; ``weights`` only where it is not the default."""
        from kaldi_quant.train.qat.options import without_defaults

        return without_defaults(asdict(self))


#: Decorator: the verb gets these options, and their values as its argument ``qat``.
qat_options = grouped_options("qat", QatArguments, _OPTIONS)


@dataclass(frozen=True)
class WidthArguments:
    """The values of the options of learned widths."""

    learn_widths: str | None
    widths: str | None
    width_epochs: int | None

    def options(self) -> WidthOptions | None:
        """What is to be learned; None where widths are given.

        Raises:
            UsageError: the budget or the widths are impossible, or there are options without the first of them.
        """
        from kaldi_quant.quant.search.options import DEFAULT_WIDTHS, parse_budget, parse_widths
        from kaldi_quant.train.qat.learned_widths import WidthOptions

        if self.learn_widths is None:
            for option, value in (("--widths", self.widths), ("--width-epochs", self.width_epochs)):
                if value is not None:
                    raise UsageError(f"{option} {value} has an effect only with --learn-widths")
            return None
        if self.width_epochs is not None and self.width_epochs < 1:
            raise UsageError(f"--width-epochs {self.width_epochs}: expected 1 or more")
        chosen = DEFAULT_WIDTHS if self.widths is None else parse_widths(self.widths, "--widths")
        return WidthOptions(parse_budget(self.learn_widths), chosen)

    def without_bits(self, quantization: QuantizationArguments) -> QuantizationArguments:
        """How the network is quantized but for the widths of weights, where these are learned.

        Raises:
            UsageError: they are given, too.
        """
        if self.learn_widths is None:
            return quantization
        if quantization.bits is not None:
            raise UsageError(f"--bits {quantization.bits} cannot be combined with --learn-widths")
        own = quantization.preset or quantization.config
        return quantization if own else replace(quantization, bits=_MIDDLE_WIDTH)


#: Decorator: the verb gets these options, and their values as its argument ``learned``.
width_options = grouped_options("learned", WidthArguments, _WIDTH_OPTIONS)


def check_loop(training: TrainingArguments, qat: QatArguments, learned: WidthArguments, examples: bool) -> None:
    """Refuses ways of training that cannot be for what is trained, before anything is read.

    Args:
        training: how training goes.
        qat: what is learned from.
        learned: whether widths are.
        examples: whether there are Kaldi's examples, or will be.

    Raises:
        UsageError: there is one.
    """
    loop = training.loop()
    if learned.learn_widths is not None:
        from kaldi_quant.train.qat.learned_widths import check_schedule

        if training.optimizer != "adam":
            raise UsageError(f"--optimizer {training.optimizer}: widths are learned by adam alone")
        check_schedule(loop.schedule)
    if not examples:
        loop.check_held_out(bool(qat.held_out), "give some with --held-out")
