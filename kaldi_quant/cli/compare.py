"""``kaldi-quant compare [NAME=]DECODE-DIR ...``: word error rates side by side, with significance, size and speed."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kaldi_quant.cli.options import KaldiCommand, allow_pipes_option
from kaldi_quant.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaldi_quant.report.comparison import Comparison

    _Write = Callable[[Comparison], str]

_STANDARD_OUTPUT = "-"


@click.command(cls=KaldiCommand)
@click.option("--lmwt", type=int, help="Compare at this language-model weight; by default each folder's best point.")
@click.option("--wip", metavar="FLOAT", help="Compare at this word insertion penalty.")
@click.option("--utt2spk", metavar="FILE", help="Speakers, which the bootstrap then draws in place of utterances.")
@click.option("--replications", type=int, default=10000, show_default=True, help="Draws of the bootstrap.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draws.")
@click.option("--text", metavar="FILE", help="Write the table as text; - for standard output, the default.")
@click.option("--markdown", metavar="FILE", help="Write the tables in Markdown; - for standard output.")
@click.option("--json", metavar="FILE", help="Write all numbers in JSON; - for standard output.")
@click.option("--html", metavar="FILE", help="Write a page with plots, which needs no other file and no network.")
@click.option("--speed", metavar="FEATS-RSPECIFIER", help="Measure the models' speed on one thread, on this speech.")
@click.option("--speed-rounds", type=int, default=7, show_default=True, help="Measurements of each model.")
@click.option("--speed-seconds", type=float, default=30.0, show_default=True, help="Speech in each measurement.")
@click.option("--float-model", metavar="FILE", help="What speed is relative to; by default the first folder's model.")
@click.option("--frame-subsampling-factor", type=int, help="By default what each model's folder says.")
@allow_pipes_option()
@click.argument("folders", metavar="[NAME=]DECODE-DIR...", nargs=-1, required=True)
def command(
    lmwt: int | None,
    wip: str | None,
    utt2spk: str | None,
    replications: int,
    seed: int,
    text: str | None,
    markdown: str | None,
    json: str | None,
    html: str | None,
    speed: str | None,
    speed_rounds: int,
    speed_seconds: float,
    float_model: str | None,
    frame_subsampling_factor: int | None,
    allow_pipes: bool,
    folders: tuple[str, ...],
) -> None:
    """Compare scored decode folders, this project's or Kaldi's; the first is what the others are compared with.

    A row begins as in Kaldi's RESULTS, so that grep WER | sort -k2n and utils/best_wer.sh work on the output. Behind
    that stand the 95 % interval, the difference to the first folder with its interval and significance, and, where the
    folder has a quantization.json, the size of its model and bits per weight.

    e.g.: kaldi-quant compare --html compare.html float=exp/chain/tdnn/decode_test w8=exp/chain/tdnn/decode_test_w8
    """
    from kaldi_quant.report.comparison import ComparisonOptions, compare
    from kaldi_quant.report.decode_folder import FixedPoint

    outputs = _outputs(text, markdown, json, html)
    comparison = compare(list(folders), ComparisonOptions(FixedPoint(lmwt, wip), utt2spk, replications, seed))
    if speed is not None:
        extent = (speed_rounds, speed_seconds)
        comparison = _with_speed(comparison, speed, extent, float_model, frame_subsampling_factor, allow_pipes)
    for file, write in outputs:
        _write(file, write(comparison))


def _outputs(text: str | None, markdown: str | None, json: str | None, html: str | None) -> list[tuple[str, _Write]]:
    """Which files are written how; something always goes to standard output, and one thing only."""
    from kaldi_quant.report.as_json import as_json
    from kaldi_quant.report.markdown import as_markdown
    from kaldi_quant.report.page import as_html, require_matplotlib
    from kaldi_quant.report.text import as_text

    if html is not None:
        require_matplotlib()
    outputs: list[tuple[str, _Write]] = []
    for file, write in ((text, as_text), (markdown, as_markdown), (json, as_json), (html, as_html)):
        if file is not None:
            outputs.append((file, write))
    shown = sum(file == _STANDARD_OUTPUT for file, _ in outputs)
    if shown > 1:
        raise UsageError("only one of --text, --markdown, --json and --html can go to standard output (-)")
    return outputs if shown else [*outputs, (_STANDARD_OUTPUT, as_text)]


def _write(file: str, content: str) -> None:
    from kaldi_quant.atomic import atomic_write

    if file == _STANDARD_OUTPUT:
        click.echo(content, nl=False)
        return
    with atomic_write(file, "w") as stream:
        stream.write(content)


def _with_speed(
    comparison: Comparison,
    rspecifier: str,
    extent: tuple[int, float],
    float_model: str | None,
    factor: int | None,
    allow_pipes: bool,
) -> Comparison:
    from kaldi_quant.cli.models import RunnableNetwork, read_network
    from kaldi_quant.report.runners import models_of, read_speech, runners_of
    from kaldi_quant.report.speed import measure, one_thread

    def load(path: Path) -> RunnableNetwork:
        network = read_network(str(path))
        return network if factor is None else dataclasses.replace(network, subsampling=factor)

    rounds, seconds = extent
    models = models_of(comparison, Path(float_model) if float_model else None)
    speech = read_speech(rspecifier, seconds, allow_pipes)
    with one_thread():
        runners = runners_of(models, load, speech, os.environ.get("KALDI_ROOT"))
        return dataclasses.replace(comparison, speeds=measure(runners, rounds))
