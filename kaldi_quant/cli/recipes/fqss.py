"""``egs/separation/{train,val,infer}.py``: FQSS's programs, with its options and its YAML files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kaldi_quant.cli.options import KaldiCommand, num_threads_option, set_threads
from kaldi_quant.errors import UsageError

if TYPE_CHECKING:
    from kaldi_quant.train.parallel.device_context import DeviceContext

_Function = TypeVar("_Function", bound=Callable[..., Any])
_ENVIRONMENTS = ("asteroid", "tasnet", "speechbrain", "htdemucs")


def _shared_options(function: _Function) -> _Function:
    for option in (
        num_threads_option(),
        click.option("--use-cpu", is_flag=True, help="Compute on the CPU, also where there is a GPU."),
        click.option("--yml-path", "-y", required=True, metavar="YAML", help="See egs/separation/configs."),
    ):
        function = option(function)
    return function


def _device(use_cpu: bool) -> str:
    import torch

    return "cpu" if use_cpu or not torch.cuda.is_available() else "cuda"


@contextmanager
def _place(use_cpu: bool, local_rank: int | None, distributed: bool, mixed: bool) -> Iterator[DeviceContext]:
    """Where training is computed: on a GPU if there is one, by the processes of torchrun if it has started this one."""
    from kaldi_quant.train.parallel.device_context import device_context

    if local_rank is not None:
        os.environ.setdefault("LOCAL_RANK", str(local_rank))
    if distributed and "RANK" not in os.environ:
        raise UsageError("--distributed-launch is for processes that torchrun starts: torchrun --nproc-per-node 2 …")
    device = _device(use_cpu)
    with device_context(device, mixed and device == "cuda") as place:
        yield place


@click.command(cls=KaldiCommand)
@click.option(
    "--env-name",
    "-env",
    type=click.Choice(_ENVIRONMENTS),
    required=True,
    help="The environment for training that the system has: see the head of its YAML file.",
)
@_shared_options
@click.option("--local-rank", type=click.IntRange(min=0), help="The GPU of this process, if torchrun does not say it.")
@click.option("--distributed-launch", is_flag=True, help="Fail if torchrun has not started this process.")
def train(
    env_name: str, yml_path: str, use_cpu: bool, num_threads: int, local_rank: int | None, distributed_launch: bool
) -> None:
    """Train a network, in float or quantized, as a YAML file says. An interrupted training goes on.

    The file of the best network is printed. On several GPUs: torchrun --nproc-per-node 4 train.py …

    e.g.: train.py -env asteroid -y configs/convtasnet_2spks_8k.yaml

    train.py -env asteroid -y configs/convtasnet_small.yaml --use_cpu
    """
    from kaldi_quant.frontends.separation.fqss import training
    from kaldi_quant.frontends.separation.fqss.sections import read_settings

    set_threads(num_threads)
    settings, chosen = read_settings(yml_path, env_name)
    mixed = settings.training_cfg.auto_mix_prec
    with _place(use_cpu, local_rank, distributed_launch, mixed) as place:
        best = training.train(settings, chosen, yml_path, place)
        if place.group.is_main:
            click.echo(best)


@click.command(cls=KaldiCommand)
@_shared_options
def val(yml_path: str, use_cpu: bool, num_threads: int) -> None:
    """Score the network of model_cfg, model_path, on the data of testing_cfg, test_dir.

    Networks in integers compute on the CPU in any case.

    e.g.: val.py -y configs/convtasnet_2spks_8k.yaml
    """
    from kaldi_quant.frontends.separation.fqss.sections import read_settings
    from kaldi_quant.frontends.separation.fqss.testing import validate

    set_threads(num_threads)
    click.echo(validate(*read_settings(yml_path), _device(use_cpu)))


@click.command(cls=KaldiCommand)
@_shared_options
@click.option("--audio-path", "-a", required=True, metavar="WAV", help="What is to be separated.")
@click.option("--normalize", is_flag=True, help="Bring it to mean 0 and standard deviation 1, and sources back.")
@click.option("--plot", is_flag=True, help="Draw the first source, too.")
def infer(yml_path: str, use_cpu: bool, num_threads: int, audio_path: str, normalize: bool, plot: bool) -> None:
    """Separate a recording by the network of model_cfg, model_path. The files, in work_dir, are printed.

    e.g.: infer.py -y configs/convtasnet_2spks_8k.yaml -a mixture.wav
    """
    from kaldi_quant.frontends.separation.fqss import testing
    from kaldi_quant.frontends.separation.fqss.sections import read_settings

    set_threads(num_threads)
    settings, chosen = read_settings(yml_path)
    device, audio = _device(use_cpu), Path(audio_path)
    for path in testing.infer(settings, chosen, audio, normalize=normalize, plot=plot, device=device):
        click.echo(path)
