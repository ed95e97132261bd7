"""``kaldi-quant compare-trainings NAME=DECODE-DIR,... ...``: ways of training, each by several models."""

from __future__ import annotations

import click

from kaldi_quant.cli.comparison_options import ComparisonArguments, comparison_options
from kaldi_quant.cli.options import KaldiCommand


@click.command(cls=KaldiCommand)
@comparison_options
@click.argument("trainings", metavar="NAME=DECODE-DIR,...", nargs=-1, required=True)
def command(comparing: ComparisonArguments, trainings: tuple[str, ...]) -> None:
    """Compare ways of training by the mean WER of models that were trained in each, with another --srand each.

    The intervals know of the choice of utterances and of the chance in training. Differences are to the first.

    e.g.: kaldi-quant compare-trainings uniform=exp/u_0/decode_dev,exp/u_1/decode_dev
    mixed=exp/m_0/decode_dev,exp/m_1/decode_dev
    """
    from kaldi_quant.report.text import trainings_as_text
    from kaldi_quant.report.trainings import compare_trainings

    click.echo(trainings_as_text(compare_trainings(trainings, comparing.options())), nl=False)
