"""``egs/separation/float.py``: networks that separate sources, trained in float."""

from __future__ import annotations

from dataclasses import replace

import click

from kaldi_quant.cli.options import KaldiCommand, result_file, set_threads
from kaldi_quant.cli.recipes.frontend_options import frontend_options
from kaldi_quant.cli.training_options import place_options


@click.command(cls=KaldiCommand)
@frontend_options("Mixtures and sources, speech that is mixed, or the word 'band'.", "egs/separation/README.md")
@place_options
@click.option("--output", required=True, metavar="FILE", help="For the network.")
def train_float(
    config: str,
    data_dir: str,
    layout: str,
    seed: int | None,
    num_threads: int,
    device: str,
    bf16: bool,
    output: str,
) -> None:
    """Train a network in float, as a configuration says. An interrupted training goes on.

    On several GPUs, or in several processes: torchrun --nproc-per-node 4 float.py …

    e.g.: float.py --config conf/conv-tasnet-small.yaml --data-dir ../enhancement/data --output exp/network.pth
    """
    from kaldi_quant.frontends.separation.data import ReadOptions, open_separation_data
    from kaldi_quant.frontends.separation.networks.known import NETWORKS
    from kaldi_quant.frontends.separation.training import training
    from kaldi_quant.frontends.separation.training.checkpoint import write_network
    from kaldi_quant.frontends.separation.training.config import read_training_config
    from kaldi_quant.train.parallel.device_context import device_context

    set_threads(num_threads)
    found = read_training_config(config)
    found = replace(found, seed=found.seed if seed is None else seed)
    path, kind = result_file(output), NETWORKS[found.network]
    reading = ReadOptions(seconds=found.seconds, spare=training.spare(found, kind.rate))
    data = open_separation_data(data_dir, kind, layout, reading)
    with device_context(device, bf16) as place:
        network = training.train_float(kind, data, found, path.parent, place=place)
        if place.group.is_main:
            write_network(path, found.network, network, training.made_of(found, data), found.sizes)
            click.echo(path)
