"""``kaldi-quant copy [--binary=false] IN OUT``: as nnet3-am-copy and nnet3-copy."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from kaldi_quant.atomic import atomic_write
from kaldi_quant.cli.options import KaldiCommand, frame_subsampling_option, kaldi_bool_option
from kaldi_quant.errors import ModelError, UsageError
from kaldi_quant.kaldi.companions import Companions
from kaldi_quant.kaldi.edits import apply_edits, set_learning_rate
from kaldi_quant.kaldi.frame_subsampling import find_factor, folder_of
from kaldi_quant.kaldi.model import AmNnetSimple, Model, read_model
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.kaldi.outputs import OUTPUT, no_output, output_names, with_network
from kaldi_quant.kaldi.text import read_text


@click.command(cls=KaldiCommand)
@kaldi_bool_option("--binary", default=True, help="Write in binary form; false for text.")
@kaldi_bool_option("--raw", default=False, help="Write only the network, without transition model and priors.")
@click.option("--set-raw-nnet", metavar="RAW", help="First replace the model's network by this one.")
@click.option("--learning-rate", type=float, help="Of all components; before the edits.")
@click.option("--edits-config", metavar="FILE", help="Edits, a line each, in the language of nnet3-copy.")
@click.option(
    "--edits",
    metavar="EDITS",
    help='Edits with semicolons between them, such as "rename-node old-name=output-0 new-name=output".',
)
@frame_subsampling_option()
@click.argument("model_in", metavar="IN", type=click.Path())
@click.argument("model_out", metavar="OUT", type=click.Path())
def command(
    binary: bool,
    raw: bool,
    set_raw_nnet: str | None,
    learning_rate: float | None,
    edits_config: str | None,
    edits: str | None,
    frame_subsampling_factor: int | None,
    model_in: str,
    model_out: str,
) -> None:
    """Copy the model IN (.mdl or raw nnet3, binary or text) to OUT; - stands for standard input and output.

    The edits are Kaldi's: convert-to-fixed-affine, remove-orphan-nodes, remove-orphan-components, remove-orphans,
    set-learning-rate, set-learning-rate-factor, rename-node, remove-output-nodes, set-dropout-proportion, apply-svd and
    reduce-rank. In names of components and outputs * stands for anything. Beside an OUT whose name ends in .mdl come
    the files that lie beside IN and belong to the model: frame_subsampling_factor, tree, phones.txt, cmvn_opts and so
    on.

    e.g.: kaldi-quant copy --edits="remove-output-nodes name=output-xent; remove-orphans" final.mdl small.mdl
    """
    model = read_model(model_in)
    out = Path(model_out)
    runs = model.transition_model is not None and not raw and out.suffix == ".mdl"
    folder = folder_of(model.path) if runs else None
    companions = _companions(model, folder, frame_subsampling_factor) if folder is not None else None
    if companions is not None:
        companions.check(out.parent, out.name)
    nnet = model.nnet
    if set_raw_nnet is not None:
        if model.transition_model is None:
            raise UsageError(f"--set-raw-nnet: {model_in} is a raw network already, and would be replaced as a whole")
        nnet = read_model(set_raw_nnet).nnet
    if learning_rate is not None:
        try:
            nnet = set_learning_rate(nnet, learning_rate)
        except ValueError as error:
            raise UsageError(f"--learning-rate: {error}") from error
    if edits_config is not None:
        nnet = apply_edits(nnet, read_text(edits_config), f"--edits-config {edits_config}")
    if edits is not None:
        nnet = apply_edits(nnet, edits.replace(";", "\n"), "--edits")
    model = model.bare() if raw else model
    content = (model if nnet is model.nnet else _with(model, nnet)).getvalue(binary)
    if model_out == "-":
        sys.stdout.buffer.write(content)
        return
    if companions is not None:
        companions.write(out.parent, out.name)
    with atomic_write(model_out) as stream:
        stream.write(content)


def _with(model: Model, nnet: Nnet) -> Model:
    """The model with another network, whose context is written where the file has one."""
    if not isinstance(model.network, AmNnetSimple):
        return with_network(model, nnet)
    if OUTPUT not in output_names(nnet):
        raise UsageError(f"{no_output(nnet, OUTPUT, advise=False)}, which a .mdl needs: write it with --raw")
    from kaldi_quant.nnet3.model import context_of

    changed = with_network(model, nnet)
    assert isinstance(changed.network, AmNnetSimple)
    try:
        context = context_of(nnet)
    except ModelError:
        # Kaldi does not look at what stands in the file.
        return changed
    return replace(changed, network=replace(changed.network, left_context=context.left, right_context=context.right))


def _companions(model: Model, folder: Path, factor: int | None) -> Companions:
    """What lies beside the model, and its frame-subsampling factor, where that is known or given."""
    return Companions.beside(model.path, find_factor(folder) if factor is None else factor)
