"""Options of how folders are compared and how speed is measured: shared by the verbs that report results."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kaldi_quant.cli.options import grouped_options, kaldi_bool_option
from kaldi_quant.errors import UsageError

if TYPE_CHECKING:
    from kaldi_quant.cli.models import RunnableNetwork
    from kaldi_quant.report.comparison import Comparison, ComparisonOptions

#: Stands for standard output where a file is expected.
STANDARD_OUTPUT = "-"

_COMPARISON = (
    click.option(
        "--lmwt", type=int, help="Compare at this language-model weight; by default, at each folder's best point."
    ),
    click.option(
        "--wip",
        metavar="FLOAT",
        help="Compare at this word insertion penalty; by default, at each folder's best point.",
    ),
    kaldi_bool_option(
        "--cer",
        default=False,
        help="Compare character error rates, as written by score --cer or Kaldi's score_kaldi_cer.sh.",
    ),
    click.option(
        "--utt2spk",
        metavar="FILE",
        help="Draw speakers in the bootstrap instead of utterances, as listed in this file.",
    ),
    click.option("--replications", type=int, default=10000, show_default=True, help="Number of bootstrap draws."),
    click.option("--seed", type=int, default=0, show_default=True, help="Random seed of the bootstrap."),
)
_SPEED = (
    click.option(
        "--speed", metavar="FEATS-RSPECIFIER", help="Measure the speed of the models on these features, on one thread."
    ),
    click.option(
        "--speed-rounds", type=int, default=7, show_default=True, help="Number of measurements of each model."
    ),
    click.option(
        "--speed-seconds", type=float, default=30.0, show_default=True, help="Seconds of speech in each measurement."
    ),
    click.option(
        "--float-model",
        metavar="FILE",
        help="The model that speed is relative to; by default, the first folder's model.",
    ),
)


@dataclass(frozen=True)
class ComparisonArguments:
    """The values of the options of comparing."""

    lmwt: int | None
    wip: str | None
    cer: bool
    utt2spk: str | None
    replications: int
    seed: int

    def compare(self, folders: Sequence[str]) -> Comparison:
        """Compares folders, ``DIR`` or ``NAME=DIR``; the first is the reference."""
        from kaldi_quant.report.comparison import compare

        return compare(list(folders), self.options())

    def options(self) -> ComparisonOptions:
        """The same for the library."""
        from kaldi_quant.decode.error_rate import CHARACTERS, WORDS
        from kaldi_quant.report.comparison import ComparisonOptions
        from kaldi_quant.report.files.decode_folder import FixedPoint

        rate = CHARACTERS if self.cer else WORDS
        return ComparisonOptions(FixedPoint(self.lmwt, self.wip), self.utt2spk, self.replications, self.seed, rate)


@dataclass(frozen=True)
class SpeedArguments:
    """The values of the options of speed."""

    speed: str | None
    speed_rounds: int
    speed_seconds: float
    float_model: str | None

    def __post_init__(self) -> None:
        if self.speed_rounds < 1:
            raise UsageError(f"--speed-rounds must be at least 1, found {self.speed_rounds}")
        if not self.speed_seconds > 0:
            raise UsageError(f"--speed-seconds must be positive, found {self.speed_seconds:g}")

    def measured(self, comparison: Comparison, subsampling: int | None, allow_pipes: bool) -> Comparison:
        """The comparison with the speed of its models, if that is wanted.

        Args:
            comparison: its folders' records name the models.
            subsampling: frames per output row; None for what each model's folder says.
            allow_pipes: whether shell commands in the rspecifier run.
        """
        if self.speed is None:
            return comparison
        from kaldi_quant.cli.feature_options import without_normalisation
        from kaldi_quant.cli.models import read_network
        from kaldi_quant.report.runners import Speech, models_of, read_speech, runners_of
        from kaldi_quant.speed import measure, one_thread

        def load(path: Path) -> RunnableNetwork:
            return read_network(str(path), subsampling=subsampling)

        def prepare(path: Path, speech: Speech) -> Speech:
            return Speech(list(without_normalisation(str(path), speech.utterances)))

        models = models_of(comparison, Path(self.float_model) if self.float_model else None)
        speech = read_speech(self.speed, self.speed_seconds, allow_pipes)
        with one_thread():
            runners = runners_of(models, load, speech, os.environ.get("KALDI_ROOT"), prepare)
            return dataclasses.replace(comparison, speeds=measure(runners, self.speed_rounds))


#: Decorators: the verb gets these options, and their values as its argument ``comparing``, or ``speed``.
comparison_options = grouped_options("comparing", ComparisonArguments, _COMPARISON)
speed_options = grouped_options("speed", SpeedArguments, _SPEED)


def write_output(file: str, content: str) -> None:
    """Writes a file, or to standard output."""
    from kaldi_quant.atomic import atomic_write

    if file == STANDARD_OUTPUT:
        click.echo(content, nl=False)
        return
    with atomic_write(file, "w") as stream:
        stream.write(content)
