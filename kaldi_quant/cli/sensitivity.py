"""``kaldi-quant sensitivity MODEL CALIBRATION-RSPECIFIER HELD-OUT-RSPECIFIER OUT-DIR``: what each layer costs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kaldi_quant.cli.dev_scoring import ScoringArguments, scoring_options
from kaldi_quant.cli.inference_options import InferenceArguments, inference_options
from kaldi_quant.cli.model_options import ModelArguments, model_options
from kaldi_quant.cli.options import KaldiCommand, hold_folder, result_file, result_folder
from kaldi_quant.cli.quantization_options import (
    QuantizationArguments,
    calibration_device,
    device_option,
    memory_option,
    quantization_options,
)
from kaldi_quant.cli.utterances import read_utterances, way_of_computing
from kaldi_quant.made import program_digest
from kaldi_quant.units import Bytes

if TYPE_CHECKING:
    from kaldi_quant.quant.branches import Outputs
    from kaldi_quant.quant.search.outcome import Scorer
    from kaldi_quant.quant.sensitivity import WordErrorRate

FILE_NAME = "sensitivity.json"


@click.command(cls=KaldiCommand)
@quantization_options
@scoring_options
@click.option(
    "--plot",
    metavar="SVG",
    help="Where to write the plot; by default OUT-DIR/sensitivity.svg, if matplotlib is installed.",
)
@memory_option("measuring")
@device_option()
@inference_options
@model_options
@click.argument("model")
@click.argument("calibration", metavar="CALIBRATION-RSPECIFIER")
@click.argument("held_out", metavar="HELD-OUT-RSPECIFIER")
@click.argument("out_dir", metavar="OUT-DIR")
def command(
    quantization: QuantizationArguments,
    scoring: ScoringArguments,
    plot: str | None,
    memory: Bytes,
    device: str,
    inference: InferenceArguments,
    models: ModelArguments,
    model: str,
    calibration: str,
    held_out: str,
    out_dir: str,
) -> None:
    """Measure what each layer of MODEL costs: quantized alone, and left in float alone.

    Measured are the divergence of the distributions over pdfs from the float model's and, with --graph-dir and
    --data-dir, the word error rate, on HELD-OUT-RSPECIFIER: development data, never test data. OUT-DIR gets
    sensitivity.json, sensitivity.txt and sensitivity.svg. An interrupted run goes on where it was.

    e.g.: kaldi-quant sensitivity --bits 4 final.mdl scp:data/train_sub/feats.scp scp:data/dev/feats.scp exp/sensitivity
    """
    from kaldi_quant.nnet3.quantization import layer_configs, quantize
    from kaldi_quant.quant.kept_layers import Keeping
    from kaldi_quant.quant.sensitivity import sensitivity
    from kaldi_quant.report.pages.plot_style import require_matplotlib
    from kaldi_quant.report.sensitivity import as_text, write_plot

    scored = scoring.given
    preset, config = quantization.resolve()
    place = calibration_device(device, config)
    folder = result_folder(out_dir)
    if plot is not None:
        result_file(plot)
        require_matplotlib()
    read = models.read(model)
    layer_configs(read.nnet, config)
    calibration_set = quantization.amount.of_table(read, calibration, inference, place)
    data = read_utterances(read, held_out, inference, place)
    contents: dict[str, Any] = {"model content": read.digest()}
    contents |= {"calibration set": calibration_set.content()}
    contents |= {
        "held-out set": data.content(),
        "way of computing": way_of_computing(data),
    }
    hold_folder(folder)
    keeping = Keeping(folder)
    network = quantize(read.nnet, config, calibration_set, keeping=keeping, memory=memory)
    about: dict[str, Any] = {"model": model, "preset": preset, "config": config.as_dict(), "calibration": calibration}
    about |= {"held_out": held_out, **asdict(quantization.amount), "data_dir": scoring.data_dir}
    about |= {**contents, "program": program_digest()}
    wer = _word_error_rate(scoring.scorer(model, read)) if scored else None
    found = list(sensitivity(network, data, folder / FILE_NAME, about, wer, memory))
    keeping.finish()
    text = as_text(found)
    (folder / "sensitivity.txt").write_text(text, "utf-8")
    write_plot(folder / "sensitivity.svg" if plot is None else Path(plot), found, required=plot is not None)
    click.echo(text, nl=False)


def _word_error_rate(score: Scorer) -> WordErrorRate:
    def wer(rows: Outputs) -> float:
        # With the digits that scoring prints.
        return round(score(rows.items()).percent, 2)

    return wer
