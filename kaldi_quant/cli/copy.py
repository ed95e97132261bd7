"""``kaldi-quant copy [--binary=false] IN OUT``: as nnet3-am-copy and nnet3-copy."""

import sys
from pathlib import Path

import click

from kaldi_quant.atomic import atomic_write
from kaldi_quant.cli.options import KaldiCommand, frame_subsampling_option, kaldi_bool_option
from kaldi_quant.kaldi.companions import Companions
from kaldi_quant.kaldi.frame_subsampling import find_factor, folder_of
from kaldi_quant.kaldi.model import Model, read_model


@click.command(cls=KaldiCommand)
@kaldi_bool_option("--binary", default=True, help="Write the binary form; false for text.")
@kaldi_bool_option("--raw", default=False, help="Write the network alone, without transition model and priors.")
@frame_subsampling_option()
@click.argument("model_in", metavar="IN", type=click.Path())
@click.argument("model_out", metavar="OUT", type=click.Path())
def command(binary: bool, raw: bool, frame_subsampling_factor: int | None, model_in: str, model_out: str) -> None:
    """Copy the model IN (.mdl or raw nnet3, binary or text) to OUT; - stands for standard input and output.

    Beside an OUT whose name ends in .mdl come the files that lie beside IN and belong to the model:
    frame_subsampling_factor, tree, phones.txt, cmvn_opts and so on.

    e.g.: kaldi-quant copy --binary=false final.mdl final.txt
    """
    model = read_model(model_in)
    out = Path(model_out)
    runs = model.transition_model is not None and not raw and out.suffix == ".mdl"
    folder = folder_of(model.path) if runs else None
    companions = _companions(model, folder, frame_subsampling_factor) if folder is not None else None
    if companions is not None:
        companions.check(out.parent, out.name)
    content = (model.bare() if raw else model).getvalue(binary)
    if model_out == "-":
        sys.stdout.buffer.write(content)
        return
    if companions is not None:
        companions.write(out.parent, out.name)
    with atomic_write(model_out) as stream:
        stream.write(content)


def _companions(model: Model, folder: Path, factor: int | None) -> Companions:
    """What lies beside the model, and its frame-subsampling factor, where that is known or given."""
    return Companions.beside(model.path, find_factor(folder) if factor is None else factor)
