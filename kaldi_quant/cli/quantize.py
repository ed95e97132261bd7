"""``kaldi-quant quantize MODEL FEATURES-RSPECIFIER OUT-DIR``: an integer model from a float one."""

from __future__ import annotations

import logging

import click

from kaldi_quant.cli.inference_options import InferenceArguments, inference_options, subsampling_of
from kaldi_quant.cli.options import KaldiCommand, result_folder
from kaldi_quant.cli.quantization_options import (
    QuantizationArguments,
    calibration_device,
    device_option,
    quantization_options,
)
from kaldi_quant.kaldi.model import read_model

_log = logging.getLogger(__name__)


@click.command(cls=KaldiCommand)
@quantization_options
@click.option("--ranges", metavar="JSON", help="Activation ranges that 'calibrate' found with the same options.")
@device_option()
@inference_options
@click.argument("model")
@click.argument("features", metavar="FEATURES-RSPECIFIER")
@click.argument("out_dir")
def command(
    quantization: QuantizationArguments,
    ranges: str | None,
    device: str,
    inference: InferenceArguments,
    model: str,
    features: str,
    out_dir: str,
) -> None:
    """Quantize MODEL after training, calibrated on FEATURES-RSPECIFIER, and write the results to OUT-DIR.

    There come quantized.safetensors, the integer model, which needs no other file, and quantization.json, how it was
    made: the resolved configuration, the command, the version, each layer's signal-to-quantization-noise ratio.
    Calibrate on training data, never on the data that the result is scored on. A run that was killed goes on with the
    next layer when it is called again.

    e.g.: kaldi-quant quantize --bits 4 final.mdl scp:data/train_sub/feats.scp exp/tdnn1a_w4
    """
    from kaldi_quant.export.record import code_version
    from kaldi_quant.export.results import write_result
    from kaldi_quant.quant.kept_layers import Keeping
    from kaldi_quant.quant.ptq import layer_configs, quantize
    from kaldi_quant.quant.ranges import read_ranges

    preset, config = quantization.resolve()
    place = calibration_device(device, config)
    folder = result_folder(out_dir)
    given = read_ranges(ranges) if ranges else None
    read = read_model(model)
    layer_configs(read.nnet, config)
    data = quantization.calibration_set(model, features, inference, place)
    keeping = Keeping(folder, code_version())
    network = quantize(read.nnet, config, data, given, keeping)
    made = write_result(folder, network, read, config, features, data, subsampling_of(model), preset)
    keeping.finish()
    for name, reason in network.float_layers.items():
        _log.info("%s stays in float: %s", name, reason)
    _log.info(
        "%s: %d bytes, %.3f of the float parameters, %.2f bits per weight; KL from float %.5f on calibration data",
        made.path,
        made.bytes,
        made.bytes / made.record["float_bytes"],
        made.record["bits_per_weight"],
        made.lost.kl,
    )
