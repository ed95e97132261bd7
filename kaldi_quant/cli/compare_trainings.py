"""``kaldi-quant compare-trainings NAME=DECODE-DIR,... ...``: ways of training, each by several models."""

from __future__ import annotations

import click

from kaldi_quant.cli.comparison_options import ComparisonArguments, comparison_options
from kaldi_quant.cli.options import KaldiCommand


@click.command(cls=KaldiCommand)
@comparison_options
@click.argument("trainings", metavar="NAME=DECODE-DIR,...", nargs=-1, required=True)
def command(comparing: ComparisonArguments, trainings: tuple[str, ...]) -> None:
    """Compare training methods by the mean WER of several models each, trained with different values of --srand.

    The intervals cover both the choice of test utterances and the randomness of training. Differences are to the first
    method. Folders with a scores.json are compared by the mean of their scores.

    e.g.: kaldi-quant compare-trainings uniform=exp/u_0/decode_dev,exp/u_1/decode_dev
    mixed=exp/m_0/decode_dev,exp/m_1/decode_dev
    """
    from kaldi_quant.report.text import trainings_as_text
    from kaldi_quant.report.trainings import compare_trainings

    click.echo(trainings_as_text(compare_trainings(trainings, comparing.options())), nl=False)
