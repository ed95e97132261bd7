"""``kaldi-quant quantize MODEL FEATURES-RSPECIFIER OUT-DIR``: an integer model from a float one."""

from __future__ import annotations

import logging

import click

from kaldi_quant.cli.feature_options import companions_of, feature_record
from kaldi_quant.cli.inference_options import InferenceArguments, inference_options
from kaldi_quant.cli.model_options import ModelArguments, model_options
from kaldi_quant.cli.options import KaldiCommand, hold_folder, result_folder
from kaldi_quant.cli.quantization_options import (
    QuantizationArguments,
    calibration_device,
    device_option,
    memory_option,
    quantization_options,
)
from kaldi_quant.units import Bytes

_log = logging.getLogger(__name__)


@click.command(cls=KaldiCommand)
@quantization_options
@click.option("--ranges", metavar="JSON", help="Activation ranges written by 'calibrate' with the same options.")
@memory_option("calibration")
@device_option()
@inference_options
@model_options
@click.argument("model")
@click.argument("features", metavar="FEATURES-RSPECIFIER")
@click.argument("out_dir", metavar="OUT-DIR")
def command(
    quantization: QuantizationArguments,
    ranges: str | None,
    memory: Bytes,
    device: str,
    inference: InferenceArguments,
    models: ModelArguments,
    model: str,
    features: str,
    out_dir: str,
) -> None:
    """Quantize MODEL without training, calibrated on FEATURES-RSPECIFIER, and write the results to OUT-DIR.

    OUT-DIR gets quantized.safetensors, the self-contained integer model, and quantization.json, which says how it was
    made: configuration, command, version, and each layer's signal-to-quantization-noise ratio.
    Calibrate on training data, never on the data that the result is scored on. A run that was killed goes on with the
    next layer when it is called again.

    e.g.: kaldi-quant quantize --bits 4 final.mdl scp:data/train_sub/feats.scp exp/tdnn1a_w4
    """
    from kaldi_quant.formats.results import check_result_folder, write_result
    from kaldi_quant.nnet3.quantization import layer_configs, quantize
    from kaldi_quant.quant.kept_layers import Keeping
    from kaldi_quant.quant.ranges import read_ranges

    preset, config = quantization.resolve()
    place = calibration_device(device, config)
    folder = result_folder(out_dir)
    given = read_ranges(ranges) if ranges else None
    read = models.read(model)
    layer_configs(read.nnet, config)
    data = quantization.amount.of_table(read, features, inference, place)
    companions = companions_of(read, data.options.chunks.frame_subsampling_factor, inference)
    check_result_folder(folder, companions)
    hold_folder(folder)
    keeping = Keeping(folder)
    network = quantize(read.nnet, config, data, given, keeping, memory)
    more = {"calibration_frames": data.amount(), **feature_record(model, read.nnet, inference)}
    made = write_result(folder, network, read, companions, config, features, data, preset, more)
    keeping.finish()
    for reason in dict.fromkeys(network.float_layers.values()):
        names = [name for name, of_it in network.float_layers.items() if of_it == reason]
        _log.info("in float: %s (%s)", ", ".join(names), reason)
    if network.weights_only:
        _log.info("weights only, computed in float: %s", ", ".join(network.weights_only))
    _log.info(
        "%s: %d bytes, %.3f of the float parameters, %.2f bits per weight; KL from float %.5f on calibration data",
        made.path,
        made.bytes,
        made.bytes / made.record["float_bytes"],
        made.record["bits_per_weight"],
        made.lost.distance,
    )
