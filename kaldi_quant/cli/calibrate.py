"""``kaldi-quant calibrate MODEL FEATURES-RSPECIFIER RANGES``: activation ranges as a file."""

from __future__ import annotations

import click

from kaldi_quant.cli.inference_options import InferenceArguments, inference_options
from kaldi_quant.cli.options import KaldiCommand, result_file
from kaldi_quant.cli.quantization_options import (
    QuantizationArguments,
    calibration_device,
    device_option,
    quantization_options,
)
from kaldi_quant.kaldi.model import read_model


@click.command(cls=KaldiCommand)
@quantization_options
@device_option()
@inference_options
@click.argument("model")
@click.argument("features", metavar="FEATURES-RSPECIFIER")
@click.argument("ranges")
def command(
    quantization: QuantizationArguments,
    device: str,
    inference: InferenceArguments,
    model: str,
    features: str,
    ranges: str,
) -> None:
    """Find the range of each activation of MODEL on FEATURES-RSPECIFIER and write them to RANGES, a JSON file.

    'quantize --ranges' takes it: look at the ranges, or change them, before. Give both verbs the same options.

    e.g.: kaldi-quant calibrate --act-bits 8 final.mdl scp:data/train_sub/feats.scp ranges.json
    """
    from kaldi_quant.quant.ptq import calibrate, layer_configs
    from kaldi_quant.quant.ranges import write_ranges

    preset, config = quantization.resolve()
    place = calibration_device(device, config)
    result_file(ranges)
    nnet = read_model(model).nnet
    layer_configs(nnet, config)
    data = quantization.calibration_set(model, features, inference, place)
    found = calibrate(nnet, config, data)
    write_ranges(ranges, found, {"model": model, "preset": preset, "config": config.as_dict()})
