"""``kaldi-quant copy [--binary=false] IN OUT``: as nnet3-am-copy and nnet3-copy."""

import sys

import click

from kaldi_quant.atomic import atomic_write
from kaldi_quant.cli.options import KaldiCommand, kaldi_bool_option
from kaldi_quant.kaldi.model import read_model


@click.command(cls=KaldiCommand)
@kaldi_bool_option("--binary", default=True, help="Write in binary form; false for text.")
@kaldi_bool_option("--raw", default=False, help="Write only the network, without transition model and priors.")
@click.argument("model_in", metavar="IN", type=click.Path())
@click.argument("model_out", metavar="OUT", type=click.Path())
def command(binary: bool, raw: bool, model_in: str, model_out: str) -> None:
    """Copy the model IN (.mdl or raw nnet3, binary or text) to OUT; - stands for standard input and output.

    e.g.: kaldi-quant copy --binary=false final.mdl final.txt
    """
    model = read_model(model_in)
    content = (model.bare() if raw else model).getvalue(binary)
    if model_out == "-":
        sys.stdout.buffer.write(content)
        return
    with atomic_write(model_out) as stream:
        stream.write(content)
