"""``egs/keywords/nsnet2.py``: the cells of NSNet2 in the table of keyword networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from kaldi_quant.cli.options import KaldiCommand, num_threads_option, result_folder, set_threads


@click.command(cls=KaldiCommand)
@click.option("--config", required=True, metavar="YAML", help="What is made, and how: see egs/keywords/README.md.")
@click.option("--data-dir", metavar="FOLDER", help="Of the sentences, in the place of data, raw_dir.")
@click.option("--exp-dir", default="exp", show_default=True, metavar="FOLDER", help="For the cell.")
@click.option("--preset", default="", help="Of the quantization, in the place of model, preset.")
@num_threads_option()
def nsnet2(config: str, data_dir: str | None, exp_dir: str, preset: str, num_threads: int) -> None:
    """Make a cell of NSNet2's table: in float, quantized after training, taught by the float network, weights only.

    What is there and was made from the same data in the same way is kept. The folder of the cell is printed.

    e.g.: nsnet2.py --config conf/nsnet2_ptq.yaml
    """
    from kaldi_quant.frontends.keywords.suppression.cells import SuppressionCells
    from kaldi_quant.frontends.keywords.suppression.config import read_suppression_config
    from kaldi_quant.frontends.keywords.suppression.sentences import read_sentences

    set_threads(num_threads)
    found = read_suppression_config(config)
    data, model = found.data, found.model
    data = replace(data, raw_dir=data_dir or data.raw_dir)
    found = replace(found, data=data, model=replace(model, preset=preset or model.preset))
    folder, sentences = result_folder(exp_dir), read_sentences(Path(data.raw_dir))
    click.echo(SuppressionCells(sentences, folder, f"egs/keywords/nsnet2.py --config {config}", found).make())
