"""``egs/enhancement/mbqat``: the programs in the folders of MBQAT, which differ in their folder alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kaldi_quant.cli.options import KaldiCommand, num_threads_option, set_threads
from kaldi_quant.errors import UsageError

if TYPE_CHECKING:
    from kaldi_quant.frontends.enhancement.mbqat.folders import Workspace

_Function = TypeVar("_Function", bound=Callable[..., Any])
# What MBQAT's programs take for an option that is not given.
_NONE = "none"
_MODES = ("train", "test", "infer")


def _folder_options(function: _Function) -> _Function:
    for option in (
        num_threads_option(),
        click.option("--config", metavar="YAML", default="", help="By default the file beside the program."),
        click.option("--folder", hidden=True, required=True, help="Of the program."),
    ):
        function = option(function)
    return function


def _workspace(folder: str, config: str) -> Workspace:
    from kaldi_quant.frontends.enhancement.mbqat.folders import Workspace
    from kaldi_quant.frontends.enhancement.mbqat.settings import read_settings
    from kaldi_quant.frontends.enhancement.mbqat.variants import VARIANTS

    place = Path(folder).absolute()
    variant = VARIANTS[place.name]
    return Workspace.of(place, variant, read_settings(Path(config) if config else place / variant.settings, variant))


@click.command(cls=KaldiCommand)
@click.option("-r", "--run-mode", required=True, type=click.Choice(_MODES), help="What is done.")
@click.option("-m", "--resume-model", metavar="DIR", default=_NONE, help="A network, or the folder that holds it.")
@click.option("-i", "--input-path", metavar="DIR", default=_NONE, help="Of the WAV files of infer.")
@click.option("-o", "--output-path", metavar="DIR", default=_NONE, help="For what infer makes; by default the input's.")
@_folder_options
def model(
    folder: str, config: str, run_mode: str, resume_model: str, input_path: str, output_path: str, num_threads: int
) -> None:
    """Train the network of this folder, test it, or clean files with it.

    train prints the file of the best network. test writes WAV files, and prints SNR, STOI and PESQ by noise and ratio,
    of the noisy speech (MIX) and of what the network made of it (TIME). infer prints the files that it wrote.

    e.g.: model_100k_MBQAT.py -r train -m ../CRN_100k

    model_100k_MBQAT.py -r test
    """
    from kaldi_quant.frontends.enhancement.mbqat.runs import infer, test, train

    set_threads(num_threads)
    place = _workspace(folder, config)
    given = None if resume_model == _NONE else Path(resume_model)
    if run_mode != "infer" and input_path != _NONE:
        raise UsageError("-i is for -r infer: training and test data are in the YAML file")
    if run_mode == "train":
        click.echo(train(place, given))
    elif run_mode == "test":
        click.echo(test(place, given or place.output))
    else:
        if input_path == _NONE:
            raise UsageError("-r infer needs -i, the folder of WAV files")
        source = Path(input_path)
        for path in infer(place, given or place.output, source, source if output_path == _NONE else Path(output_path)):
            click.echo(path)


@click.command(cls=KaldiCommand)
@_folder_options
def quantize(folder: str, config: str, num_threads: int) -> None:
    """Quantize what this folder's model was trained to, and test it: with PTQ_type d the LSTM, with s all of it.

    The network is below PTQ_load_path, the quantized one is written below PTQ_save_path. What training has quantized,
    its LSTM with dynamic ranges included, is taken as it is.

    e.g.: dynamic_quant_100k_MBQAT.py
    """
    from kaldi_quant.frontends.enhancement.mbqat.runs import quantize_trained

    set_threads(num_threads)
    click.echo(quantize_trained(_workspace(folder, config)))
