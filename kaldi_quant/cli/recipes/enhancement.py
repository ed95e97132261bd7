"""``egs/enhancement``: networks trained in float, and the cells of the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from kaldi_quant.cli.options import KaldiCommand, num_threads_option, result_file, result_folder, set_threads
from kaldi_quant.cli.recipes.frontend_options import frontend_options, make_cells, seeded, training_folder

_data_options = frontend_options("Noisy and clean speech, or what is mixed.", "egs/enhancement/README.md")


@click.command(cls=KaldiCommand)
@_data_options
@click.option("--output", required=True, metavar="FILE", help="For the network.")
def train(config: str, data_dir: str, layout: str, seed: int | None, num_threads: int, output: str) -> None:
    """Train a network in float, as a configuration says. An interrupted training goes on.

    e.g.: train.py --config conf/crn-100k.yaml --data-dir data --output exp/0/crn-100k/train/network.pth
    """
    from kaldi_quant.frontends.enhancement.data import read_enhancement
    from kaldi_quant.frontends.enhancement.networks.known import NETWORKS
    from kaldi_quant.frontends.enhancement.training.checkpoint import write_network
    from kaldi_quant.frontends.enhancement.training.config import read_training_config
    from kaldi_quant.frontends.enhancement.training.training import train_float

    set_threads(num_threads)
    found = read_training_config(config)
    found = replace(found, seed=found.seed if seed is None else seed)
    path, data = result_file(output), read_enhancement(Path(data_dir), layout)
    network = train_float(NETWORKS[found.network], data, found, training_folder(path))
    write_network(path, found.network, network, found.made(data.train.digest()), found.sizes)
    click.echo(path)


@click.command(cls=KaldiCommand)
@_data_options
@click.option("--network", required=True, metavar="FILE", help="In float, as train.py writes it.")
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

    What is there and was made from the same data in the same way is kept. Folders are printed.

    e.g.: cells.py --config conf/cells/crn-100k.yaml --data-dir data --network checkpoints/crn-100k.pth float ours-w4a8
    """
    from kaldi_quant.frontends.enhancement.cells import CellOptions, EnhancementCells
    from kaldi_quant.frontends.enhancement.data import read_enhancement
    from kaldi_quant.frontends.enhancement.training.checkpoint import read_network

    set_threads(num_threads)
    options = seeded(CellOptions(), config, seed)
    found, data = read_network(network), read_enhancement(Path(data_dir), layout)
    table = EnhancementCells(result_folder(exp_dir), found, Path(network), "", data, options)
    make_cells(table, "egs/enhancement/cells.py", config, data_dir, layout, names)


@click.command(cls=KaldiCommand)
@click.option("--data-dir", required=True, metavar="FOLDER", help="Noisy and clean speech, or what is mixed.")
@click.option("--layout", default="auto", show_default=True, help="Of the data's folder.")
@click.option("--exp-dir", default="exp", show_default=True, metavar="FOLDER", help="For the scores.")
@num_threads_option()
def noisy(data_dir: str, layout: str, exp_dir: str, num_threads: int) -> None:
    """Score the noisy speech of the test itself, which enhancement has to better.

    e.g.: noisy.py --data-dir data --exp-dir exp/0
    """
    from kaldi_quant.frontends.enhancement.cells import make_noisy
    from kaldi_quant.frontends.enhancement.data import read_enhancement

    set_threads(num_threads)
    click.echo(make_noisy(result_folder(exp_dir), read_enhancement(Path(data_dir), layout)))
