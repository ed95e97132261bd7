"""``kaldi-quant info MODEL``: as nnet3-am-info and nnet3-info, with sizes in bytes."""

import os
from collections.abc import Iterator

import click

from kaldi_quant.cli.options import KaldiCommand
from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.info import model_lines, nnet_lines
from kaldi_quant.kaldi.model import Model, read_model


@click.command(cls=KaldiCommand)
@click.argument("model", type=click.Path())
def command(model: str) -> None:
    """Print the dimensions, context, nodes, components and size of MODEL.

    e.g.: kaldi-quant info exp/chain/tdnn1a_sp/final.mdl
    """
    for line in _lines(model, read_model(model)):
        click.echo(line)


def _lines(path: str, model: Model) -> Iterator[str]:
    """Kaldi's lines, then those on size; where the network cannot be executed a line says why."""
    from kaldi_quant.nnet.model import AcousticModel

    yield from model_lines(model)
    yield "# Nnet info follows."
    executable = None
    try:
        executable = AcousticModel(model.nnet)
        yield f"left-context: {executable.context.left}"
        yield f"right-context: {executable.context.right}"
    except ModelError as error:
        yield f"# this network cannot be executed: {error}"
    yield from nnet_lines(model.nnet)
    yield f"file-bytes: {os.path.getsize(path)}"
    if executable is not None:
        values = [*executable.parameters(), *executable.buffers()]
        yield f"inference-parameters: {sum(value.numel() for value in executable.parameters())}"
        yield f"inference-bytes: {sum(value.numel() * value.element_size() for value in values)}"
