"""``kaldi-quant compare [NAME=]DECODE-DIR ...``: results side by side, with significance, size and speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kaldi_quant.cli.comparison_options import (
    STANDARD_OUTPUT,
    ComparisonArguments,
    SpeedArguments,
    comparison_options,
    speed_options,
    write_output,
)
from kaldi_quant.cli.options import KaldiCommand, allow_pipes_option, frame_subsampling_option
from kaldi_quant.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaldi_quant.report.comparison import Comparison

    _Write = Callable[[Comparison], str]


@click.command(cls=KaldiCommand)
@comparison_options
@click.option("--text", metavar="FILE", help="Write the table as text. - is standard output, the default.")
@click.option("--markdown", metavar="FILE", help="Write the tables as Markdown. - is standard output.")
@click.option("--json", metavar="FILE", help="Write all numbers as JSON. - is standard output.")
@click.option("--html", metavar="FILE", help="Write a self-contained HTML page with plots.")
@speed_options
@frame_subsampling_option("each model's folder")
@allow_pipes_option()
@click.argument("folders", metavar="[NAME=]DECODE-DIR...", nargs=-1, required=True)
def command(
    comparing: ComparisonArguments,
    text: str | None,
    markdown: str | None,
    json: str | None,
    html: str | None,
    speed: SpeedArguments,
    frame_subsampling_factor: int | None,
    allow_pipes: bool,
    folders: tuple[str, ...],
) -> None:
    """Compare scored decode folders, made by this project or by Kaldi, with the first of them.

    Each row begins like a line of Kaldi's RESULTS, so "grep WER | sort -k2n" and utils/best_wer.sh work on the output.
    Then come the 95 % interval, the difference to the first folder with its interval and significance and, if the
    folder has a quantization.json, the size of the model and its bits per weight.

    Folders of other tasks have a scores.json with a value for each utterance or file: PESQ, SI-SDR, accuracy or any
    other metric. They are compared in the same way; docs/compare.md describes the file.

    e.g.: kaldi-quant compare --html compare.html float=exp/chain/tdnn/decode_test w8=exp/chain/tdnn/decode_test_w8
    """
    outputs = _outputs(text, markdown, json, html)
    comparison = speed.measured(comparing.compare(folders), frame_subsampling_factor, allow_pipes)
    for file, write in outputs:
        write_output(file, write(comparison))


def _outputs(text: str | None, markdown: str | None, json: str | None, html: str | None) -> list[tuple[str, _Write]]:
    """Which files are written how; something always goes to standard output, and one thing only."""
    from kaldi_quant.report.as_json import as_json
    from kaldi_quant.report.markdown import as_markdown
    from kaldi_quant.report.pages.comparison_page import as_html
    from kaldi_quant.report.pages.plot_style import require_matplotlib
    from kaldi_quant.report.text import as_text

    if html is not None:
        require_matplotlib()
    outputs: list[tuple[str, _Write]] = []
    for file, write in ((text, as_text), (markdown, as_markdown), (json, as_json), (html, as_html)):
        if file is not None:
            outputs.append((file, write))
    shown = sum(file == STANDARD_OUTPUT for file, _ in outputs)
    if shown > 1:
        raise UsageError("only one of --text, --markdown, --json and --html can go to standard output (-)")
    return outputs if shown else [*outputs, (STANDARD_OUTPUT, as_text)]
