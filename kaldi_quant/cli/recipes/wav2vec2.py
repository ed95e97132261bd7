"""``egs/keywords/wav2vec2.py``: the cells of Wav2Vec2 in the table of keyword networks."""

from __future__ import annotations

from dataclasses import replace

import click

from kaldi_quant.cli.options import KaldiCommand, num_threads_option, result_folder, set_threads


@click.command(cls=KaldiCommand)
@click.option("--config", required=True, metavar="YAML", help="What is made, and how: see egs/keywords/README.md.")
@click.option("--data-dir", metavar="FOLDER", help="Of the recordings, in the place of data, raw_dir.")
@click.option("--exp-dir", default="exp", show_default=True, metavar="FOLDER", help="For the cell.")
@click.option("--preset", default="", help="Of the quantization, in the place of model, preset.")
@num_threads_option()
def wav2vec2(config: str, data_dir: str | None, exp_dir: str, preset: str, num_threads: int) -> None:
    """Make a cell of Wav2Vec2's table: in float, quantized after training, with training, weights only.

    What is there and was made from the same data in the same way is kept. The folder of the cell is printed.

    e.g.: wav2vec2.py --config conf/wav2vec2_fp32.yaml

    wav2vec2.py --config conf/wav2vec2_ptq.yaml
    """
    from kaldi_quant.frontends.keywords.wav2vec2_cells import make_wav2vec2_cell
    from kaldi_quant.frontends.keywords.wav2vec2_config import read_settings

    set_threads(num_threads)
    found = read_settings(config, preset)
    found = replace(found, data=replace(found.data, raw_dir=data_dir or found.data.raw_dir))
    click.echo(make_wav2vec2_cell(found, result_folder(exp_dir), f"egs/keywords/wav2vec2.py --config {config}"))
