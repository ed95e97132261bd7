"""``kaldi-quant report HTML [NAME=]DECODE-DIR ...``: a page about quantized models, and its numbers as JSON."""

from __future__ import annotations

import sys
from pathlib import Path
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
from kaldi_quant.cli.inference_options import InferenceArguments, inference_options
from kaldi_quant.cli.options import KaldiCommand
from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.companions import Companions

if TYPE_CHECKING:
    from kaldi_quant.export.artefact import Artefact
    from kaldi_quant.report.activations import ModelRanges
    from kaldi_quant.report.pages.contents import Observe


@click.command(cls=KaldiCommand)
@click.option("--search", metavar="DIR", multiple=True, help="A folder written by 'search'; may be repeated.")
@click.option("--sensitivity", metavar="DIR", multiple=True, help="A folder written by 'sensitivity'; may be repeated.")
@click.option(
    "--features", metavar="RSPECIFIER", help="Features on which to observe the activations of the integer models."
)
@click.option(
    "--feature-seconds", type=float, default=60.0, show_default=True, help="How many seconds of --features to use."
)
@click.option(
    "--json",
    metavar="FILE",
    help="Where to write the numbers as JSON; by default, beside the page. - is standard output.",
)
@click.option("--text", metavar="FILE", help="Also write the table of results as text. - is standard output.")
@comparison_options
@speed_options
@inference_options
@click.argument("html", metavar="HTML")
@click.argument("folders", metavar="[NAME=]DECODE-DIR...", nargs=-1)
def command(
    search: tuple[str, ...],
    sensitivity: tuple[str, ...],
    features: str | None,
    feature_seconds: float,
    json: str | None,
    text: str | None,
    comparing: ComparisonArguments,
    speed: SpeedArguments,
    inference: InferenceArguments,
    html: str,
    folders: tuple[str, ...],
) -> None:
    """Write a self-contained HTML page about the quantized models of one recogniser.

    It shows the results of scored decode folders, or of folders with a scores.json, as 'compare' does, error rate or
    other score against size with the models that no other model beats in both, the results of searches and the cost of
    each layer's width, the sensitivity of layers, and the activation ranges of the integer models. docs/compare.md
    explains how to read it.

    e.g.: kaldi-quant report --search exp/search --features scp:data/dev/feats.scp report.html
    float=exp/chain/tdnn/decode_test w4=exp/chain/tdnn/decode_test_w4
    """
    from kaldi_quant.report.files.search_file import read_search
    from kaldi_quant.report.files.sensitivity_file import read_sensitivity
    from kaldi_quant.report.pages.contents import Contents, model_ranges
    from kaldi_quant.report.pages.plot_style import require_matplotlib
    from kaldi_quant.report.pages.report_json import as_json
    from kaldi_quant.report.pages.report_page import as_html
    from kaldi_quant.report.text import as_text

    _check(html, json, text, bool(search or sensitivity), bool(folders), bool(speed.speed or features))
    require_matplotlib()
    inference.set_threads()
    searches = tuple(map(read_search, search))
    sensitivities = tuple(map(read_sensitivity, sensitivity))
    comparison = comparing.compare(folders) if folders else None
    contents = Contents(tuple(sys.argv), comparison, searches, sensitivities)
    if comparison:
        observe = _observer(features, feature_seconds, inference) if features else None
        ranges, notes = model_ranges(comparison, observe)
        comparison = speed.measured(comparison, inference.frame_subsampling_factor, inference.allow_pipes)
        contents = Contents(contents.command, comparison, searches, sensitivities, tuple(ranges), tuple(notes))
        if text is not None:
            write_output(text, as_text(comparison))
    write_output(html, as_html(contents))
    write_output(json or str(Path(html).with_suffix(".json")), as_json(contents))


def _check(html: str, json: str | None, text: str | None, has_found: bool, has_folders: bool, runs: bool) -> None:
    """Refuses what cannot work, before anything is read.

    Raises:
        UsageError: there is nothing to show, or two files are one.
    """
    if not has_folders and not has_found:
        raise UsageError("there is nothing to report: give decode folders, --search or --sensitivity")
    if not has_folders and (runs or text is not None):
        raise UsageError("--speed, --features and --text need decode folders: give some")
    if html == STANDARD_OUTPUT or Path(html).is_dir():
        raise UsageError(f"the page needs a file name such as report.html, found {html}")
    outputs = [str(Path(html)), str(Path(json)) if json else str(Path(html).with_suffix(".json"))]
    outputs += [str(Path(text))] if text is not None else []
    if len(set(outputs)) < len(outputs):
        raise UsageError(f"the page, --json and --text need different files, found {' and '.join(outputs)}")


def _observer(features: str, seconds: float, inference: InferenceArguments) -> Observe:
    """Runs integer models' dequantized networks on speech, which is read once."""
    from kaldi_quant.export.record import subsampling_in
    from kaldi_quant.report.activations import with_spreads
    from kaldi_quant.report.runners import read_speech

    speech = read_speech(features, seconds, inference.allow_pipes, "--feature-seconds")

    def observe(ranges: ModelRanges, artefact: Artefact) -> ModelRanges:
        factor = subsampling_in(artefact.record, artefact.model.path, inference.frame_subsampling_factor)
        companions = Companions.of_record(artefact.record, artefact.model.path, factor)
        ivectors = inference.ivector_source(companions)
        utterances = list(inference.features(artefact.model.path, features).apply(speech.utterances))
        return with_spreads(ranges, artefact.network, utterances, inference.options(factor), ivectors)

    return observe
