"""``egs/keywords``: M5 made and evaluated as a configuration says, and the cells of its table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from kaldi_quant.atomic import atomic_write
from kaldi_quant.cli.options import KaldiCommand, num_threads_option, result_file, result_folder, set_threads

_Function = TypeVar("_Function", bound=Callable[..., Any])
#: What ``m5.py`` makes, and the configuration of each.
CELLS = {
    "float": "cnn_fp32",
    "ptq": "cnn_ptq",
    "qat": "cnn_qat",
    "awq": "cnn_awq",
    "rivals": "cnn_qat",
    "sensitivity": "cnn_ptq",
}
_WIDTHS = ("w8a8", "w4a8", "w2a8")
_AWQ = ("awq-w4", "awq-w8", "awq-w4-g32", "awq-w4-g64", "awq-w4-g128")


def _config_options(function: _Function) -> _Function:
    for option in (
        num_threads_option(),
        click.option("--layout", default="", help="Of the data's folder; by default it is told by what lies there."),
        click.option("--data-dir", metavar="FOLDER", help="Of the recordings, in the place of data, raw_dir."),
    ):
        function = option(function)
    return function


def _read(config: str, data_dir: str | None, layout: str) -> tuple[Any, Any]:
    """The configuration, and the data that it names."""
    from kaldi_quant.frontends.keywords.config import read_keyword_config
    from kaldi_quant.frontends.keywords.data import read_keywords

    found = read_keyword_config(config)
    data = replace(found.data, raw_dir=data_dir or found.data.raw_dir, layout=layout or found.data.layout)
    return replace(found, data=data), read_keywords(Path(data.raw_dir), data.layout)


@click.command(cls=KaldiCommand)
@click.option("--config", required=True, metavar="YAML", help="What is made, and how: see egs/keywords/README.md.")
@_config_options
@click.option("--preset", default="", help="Of the quantization, in the place of model, preset.")
@click.option("--output", metavar="FILE", default="", help="That is made, in the place of model, output.")
def main(config: str, data_dir: str | None, layout: str, num_threads: int, preset: str, output: str) -> None:
    """Train M5 in float, or quantize it after training, with training or weights only, as a configuration says.

    e.g.: main.py --config conf/cnn_fp32.yaml --data-dir SpeechCommands/speech_commands_v0.02

    main.py --config conf/cnn_ptq.yaml
    """
    from kaldi_quant.frontends.keywords.models import make_models

    set_threads(num_threads)
    found, keywords = _read(config, data_dir, layout)
    model = replace(found.model, preset=preset or found.model.preset, output=output or found.model.output)
    found = replace(found, model=model)
    result_file(str(found.output()))
    for path in make_models(keywords, found):
        click.echo(path)


@click.command(cls=KaldiCommand)
@click.option("--checkpoint", required=True, metavar="FILE", help="What main.py made.")
@click.option("--config", required=True, metavar="YAML", help="That it was made with.")
@_config_options
@click.option("--json", "result", metavar="FILE", default="", help="Of the result; by default beside the checkpoint.")
def evaluate(checkpoint: str, config: str, data_dir: str | None, layout: str, num_threads: int, result: str) -> None:
    """Print the size of a model of keywords, its accuracy on test data, and the time that a batch of 256 takes.

    e.g.: evaluate.py --checkpoint models/cnn_ptq_model.safetensors --config conf/cnn_ptq.yaml
    """
    from kaldi_quant.frontends.keywords.models import evaluate, open_model, said

    # As the times are compared, by default on one thread.
    set_threads(num_threads or 1)
    found, keywords = _read(config, data_dir, layout)
    measured = evaluate(open_model(checkpoint, keywords, found), keywords, found)
    path = result_file(result or f"{checkpoint}.json")
    with atomic_write(path, "w") as stream:
        stream.write(json.dumps({"checkpoint": checkpoint, "config": config, **measured}, indent=1) + "\n")
    click.echo(said(measured))


@click.command(cls=KaldiCommand)
@_config_options
@click.option("--conf-dir", default="conf", show_default=True, metavar="FOLDER", help="Of cnn_*.yaml.")
@click.option("--exp-dir", default="exp", show_default=True, metavar="FOLDER", help="For the cells.")
@click.argument("cells", nargs=-1, required=True, type=click.Choice(list(CELLS)))
def m5(
    cells: tuple[str, ...], conf_dir: str, exp_dir: str, data_dir: str | None, layout: str, num_threads: int
) -> None:
    """Make cells of M5's table: in float, quantized after training, with training, weights only, by others.

    What is there and was made from the same data in the same way is kept.

    e.g.: m5.py float ptq
    """
    set_threads(num_threads)
    folder = result_folder(exp_dir)
    configs = {cell: _read(f"{conf_dir}/{CELLS[cell]}.yaml", data_dir, layout) for cell in cells}
    for cell, (config, keywords) in configs.items():
        _make(cell, config, keywords, folder, f"egs/keywords/m5.py {cell}")


def _make(cell: str, config: Any, keywords: Any, folder: Path, command: str) -> None:
    from kaldi_quant.frontends.keywords.m5_cells import M5Cells

    cells = M5Cells(keywords, folder, command)
    if cell == "float":
        cells.make_float(config)
    elif cell == "rivals":
        cells.make_torch_ptq(config)
        cells.make_torch_qat(config)
        cells.make_onnxruntime_ptq(config)
    elif cell == "sensitivity":
        for table in cells.measure(config):
            click.echo(table)
    else:
        for preset in _AWQ if cell == "awq" else _WIDTHS:
            cells.make_quantized(config, preset)
