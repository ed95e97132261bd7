"""Options of quantization-aware training: shared by the verb and the recipe."""

from __future__ import annotations

from dataclasses import dataclass

import click

from kaldi_quant.cli.options import grouped_options

_OPTIONS = (
    click.option(
        "--distillation",
        type=float,
        help="The share of distillation in the loss, 0 to 1; by default 0.5 with examples, 1 without.",
    ),
    click.option("--temperature", type=float, default=1.0, show_default=True, help="Of distillation."),
    click.option(
        "--hard-weight",
        type=float,
        default=0.0,
        show_default=True,
        help="Above 0, utterances count more on which the integer model falls further behind: the exponent.",
    ),
    click.option(
        "--feature-weight",
        type=float,
        default=0.0,
        show_default=True,
        help="Of the error of hidden layers beside the divergence of the output.",
    ),
    click.option("--teacher", metavar="MODEL", help="Whose output is learned; by default MODEL itself, in float."),
    click.option(
        "--held-out", metavar="RSPECIFIER", help="Features that distillation without examples is validated on."
    ),
    click.option(
        "--method",
        default="lsq",
        show_default=True,
        help="lsq: scales are learned; fixed: they stay as calibration found them. Not for PyTorch's presets.",
    ),
    click.option(
        "--freeze-after", type=float, default=0.8, show_default=True, help="Share of training with free scales."
    ),
)


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


#: Decorator: the verb gets these options, and their values as its argument ``qat``.
qat_options = grouped_options("qat", QatArguments, _OPTIONS)
