"""``kaldi-quant calibrate MODEL FEATURES-RSPECIFIER RANGES``: activation ranges as a file."""

from __future__ import annotations

import click

from kaldi_quant.cli.inference_options import InferenceArguments, inference_options
from kaldi_quant.cli.model_options import ModelArguments, model_options
from kaldi_quant.cli.options import KaldiCommand, result_file
from kaldi_quant.cli.quantization_options import (
    QuantizationArguments,
    calibration_device,
    device_option,
    quantization_options,
)


@click.command(cls=KaldiCommand)
@quantization_options
@device_option()
@inference_options
@model_options
@click.argument("model")
@click.argument("features", metavar="FEATURES-RSPECIFIER")
@click.argument("ranges")
def command(
    quantization: QuantizationArguments,
    device: str,
    inference: InferenceArguments,
    models: ModelArguments,
    model: str,
    features: str,
    ranges: str,
) -> None:
    """Measure the range of each activation of MODEL on FEATURES-RSPECIFIER and write them to RANGES, a JSON file.

    'quantize --ranges' reads the file, so you can inspect or edit the ranges first. Give both verbs the same options.

    e.g.: kaldi-quant calibrate --act-bits 8 final.mdl scp:data/train_sub/feats.scp ranges.json
    """
    from kaldi_quant.nnet3.quantization import calibrate, layer_configs
    from kaldi_quant.quant.ranges import write_ranges

    preset, config = quantization.resolve()
    place = calibration_device(device, config)
    result_file(ranges)
    read = models.read(model)
    layer_configs(read.nnet, config)
    data = quantization.amount.of_table(read, features, inference, place)
    found = calibrate(read.nnet, config, data)
    write_ranges(ranges, found, {"model": model, "preset": preset, "config": config.as_dict()})
