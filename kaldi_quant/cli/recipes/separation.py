"""``egs/separation``: networks trained in float, and the cells of the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from kaldi_quant.cli.options import KaldiCommand, result_file, result_folder, set_threads
from kaldi_quant.cli.recipes.frontend_options import frontend_options, make_cells, seeded, training_folder
from kaldi_quant.cli.training_options import place_options

_DATA = "Mixtures and sources, speech that is mixed, or the word 'band'."


@click.command(cls=KaldiCommand)
@frontend_options(_DATA, "egs/separation/README.md")
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
    # Of longer items each pass takes another piece.
    spare = max(training.spare(found, kind.rate), ReadOptions().seconds - found.seconds)
    reading = ReadOptions(seconds=found.seconds, spare=spare)
    data = open_separation_data(data_dir, kind, layout, reading)
    with device_context(device, bf16) as place:
        network = training.train_float(kind, data, found, training_folder(path), place=place)
        if place.group.is_main:
            write_network(path, found.network, network, found.made(data.train.digest()), found.sizes)
            click.echo(path)


@click.command(cls=KaldiCommand)
@frontend_options(_DATA, "egs/separation/README.md")
@click.option("--network", required=True, metavar="FILE", help="In float, as float.py writes it.")
@click.option("--exp-dir", default="exp", show_default=True, metavar="FOLDER", help="For the cells.")
@click.argument("names", nargs=-1, metavar="CELL...")
def cells(
    config: str,
    data_dir: str,
    layout: str,
    seed: int | None,
    num_threads: int,
    network: str,
    exp_dir: str,
    names: tuple[str, ...],
) -> None:
    """Make cells of a network's table: float, and quantized by schemes; by default all of them.

    The mixtures themselves are scored, too. What is there and was made from the same data in the same way is kept.
    Folders are printed.

    e.g.: cells.py --config conf/cells/conv-tasnet-small.yaml --data-dir ../enhancement/data
    --network checkpoints/0/conv-tasnet-small.pth float fqss
    """
    from kaldi_quant.frontends.separation.cells import CellOptions, SeparationCells, make_mixture
    from kaldi_quant.frontends.separation.data import open_separation_data
    from kaldi_quant.frontends.separation.networks.known import NETWORKS
    from kaldi_quant.frontends.separation.training.checkpoint import read_network

    set_threads(num_threads)
    options = seeded(CellOptions(), config, seed)
    found = read_network(network)
    data = open_separation_data(data_dir, NETWORKS[found.name], layout)
    table = SeparationCells(result_folder(exp_dir), found, Path(network), "", data, options)
    make_cells(table, "egs/separation/cells.py", config, data_dir, layout, names)
    click.echo(make_mixture(result_folder(exp_dir), found.name, data))
