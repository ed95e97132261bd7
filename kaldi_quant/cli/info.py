"""``kaldi-quant info MODEL``: as nnet3-am-info and nnet3-info, with sizes in bytes."""

import os
from collections.abc import Iterator

import click

from kaldi_quant.cli.options import KaldiCommand
from kaldi_quant.errors import ModelError, UsageError
from kaldi_quant.formats.file_kind import is_artefact
from kaldi_quant.formats.summary import summary_lines
from kaldi_quant.kaldi.info import is_simple, model_lines, nnet_lines, size_lines
from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.kaldi.outputs import OUTPUT, model_with_output, output_names


@click.command(cls=KaldiCommand)
@click.option(
    "--output-node", metavar="NAME", help="Of a network with several outputs, what this one needs, as if it were alone."
)
@click.argument("runnable_model", metavar="MODEL", type=click.Path())
def command(output_node: str | None, runnable_model: str) -> None:
    """Print the dimensions, context, nodes, components and size of MODEL, as nnet3-am-info and nnet3-info do.

    Of an integer model, its layers with their widths, what stays in float, and its size.

    e.g.: kaldi-quant info exp/chain/tdnn1a_sp/final.mdl
    """
    if is_artefact(runnable_model):
        if output_node is not None:
            raise UsageError(f"--output-node is for float models; {runnable_model} is an integer model")
        for line in summary_lines(runnable_model):
            click.echo(line)
        return
    read = read_model(runnable_model)
    for line in _lines(runnable_model, read if output_node is None else model_with_output(read, output_node)):
        click.echo(line)


def _lines(path: str, model: Model) -> Iterator[str]:
    """Kaldi's lines, then those on size."""
    yield from model_lines(model)
    yield from _context_lines(model.nnet)
    yield from nnet_lines(model.nnet)
    if path != "-":
        yield f"file-bytes: {os.path.getsize(path)}"
    yield from _inference_lines(model.nnet)
    if model.transition_model is None:
        yield from size_lines(model.nnet)
        yield from (f"{name}-dim: {model.nnet.node_dim(name)}" for name in output_names(model.nnet))


def _context_lines(nnet: Nnet) -> Iterator[str]:
    """As in Kaldi there are none for networks that are no acoustic models."""
    from kaldi_quant.nnet3.model import context_of

    if not is_simple(nnet):
        return
    try:
        context = context_of(nnet)
    except ModelError:
        return  # The last lines say why.
    yield f"left-context: {context.left}"
    yield f"right-context: {context.right}"


def _inference_lines(nnet: Nnet) -> Iterator[str]:
    """What inference holds in memory; where the network cannot be executed a line says why."""
    from kaldi_quant.nnet3.model import AcousticModel

    names = output_names(nnet)
    if OUTPUT not in names:
        known = ", ".join(names) or "none"
        yield f"# there is no output node {OUTPUT}; --output-node tells context and size of one of: {known}"
        return
    try:
        executable = AcousticModel(nnet)
    except ModelError as error:
        yield f"# this network cannot be executed: {error}"
        return
    values = [*executable.parameters(), *executable.buffers()]
    yield f"inference-parameters: {sum(value.numel() for value in executable.parameters())}"
    yield f"inference-bytes: {sum(value.numel() * value.element_size() for value in values)}"
