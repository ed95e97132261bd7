"""``kaldi-quant quantize MODEL FEATURES-RSPECIFIER OUT-DIR``: an integer model from a float one."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

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
from kaldi_quant.errors import UsageError
from kaldi_quant.units import Bytes

if TYPE_CHECKING:
    from kaldi_quant.kaldi.vosk_folder import VoskFolder

_log = logging.getLogger(__name__)


@click.command(cls=KaldiCommand)
@quantization_options
@click.option("--ranges", metavar="JSON", help="Activation ranges written by 'calibrate' with the same options.")
@memory_option("calibration")
@device_option()
@click.option("--vosk-model", metavar="DIR", help="A Vosk folder in the place of MODEL: then WAVS and OUT-DIR follow.")
@inference_options
@model_options
@click.argument("places", nargs=-1, required=True, metavar="MODEL FEATURES-RSPECIFIER OUT-DIR | WAVS OUT-DIR")
def command(
    quantization: QuantizationArguments,
    ranges: str | None,
    memory: Bytes,
    device: str,
    vosk_model: str | None,
    inference: InferenceArguments,
    models: ModelArguments,
    places: tuple[str, ...],
) -> None:
    """Quantize MODEL without training, calibrated on FEATURES-RSPECIFIER, and write the results to OUT-DIR.

    OUT-DIR gets quantized.safetensors, the self-contained integer model, and quantization.json, which says how it was
    made: configuration, command, version, and each layer's signal-to-quantization-noise ratio.
    Calibrate on training data, never on the data that the result is scored on. A run that was killed goes on with the
    next layer when it is called again.

    With --vosk-model, WAVS is a folder of recordings, a wav.scp or an rspecifier of recordings, of which features and
    i-vectors are made as the folder says. OUT-DIR becomes a folder that Vosk loads, with the integer model beside.

    e.g.: kaldi-quant quantize --bits 4 final.mdl scp:data/train_sub/feats.scp exp/tdnn1a_w4
    """
    if vosk_model is None:
        if len(places) != 3:
            raise UsageError(f"expected MODEL FEATURES-RSPECIFIER OUT-DIR, found {len(places)} arguments")
        model, features, out_dir = places
        _quantize(
            _Calibrated(model, features, features, inference),
            result_folder(out_dir),
            quantization,
            ranges,
            memory,
            device,
            models,
        )
        return
    if len(places) != 2:
        raise UsageError(f"--vosk-model: expected WAVS OUT-DIR, found {len(places)} arguments")
    wavs, out_dir = places
    from kaldi_quant.formats.artefact import Artefact, load
    from kaldi_quant.formats.vosk import check_vosk_target, copy_vosk_folder, write_vosk_model
    from kaldi_quant.kaldi.vosk_folder import VoskFolder

    vosk, out = VoskFolder.read(vosk_model), result_folder(out_dir)
    check_vosk_target(vosk, out)
    with _audio(vosk, wavs, inference) as calibrated:
        path = _quantize(calibrated, copy_vosk_folder(vosk, out), quantization, ranges, memory, device, models)
    artefact = load(path)
    assert isinstance(artefact, Artefact)
    _log.info("%s: for Vosk, in float", write_vosk_model(vosk, out, artefact))


@dataclass(frozen=True)
class _Calibrated:
    """What is quantized, and on what it is calibrated.

    Args:
        model: the float model's file.
        features: their rspecifier.
        named: what a user knows them by, for the record.
        inference: how utterances are computed.
    """

    model: str
    features: str
    named: str
    inference: InferenceArguments


@contextmanager
def _audio(vosk: VoskFolder, wavs: str, inference: InferenceArguments) -> Iterator[_Calibrated]:
    """Features and i-vectors of recordings, as long as they are wanted."""
    from kaldi_quant.bad_utterances import BadUtterances
    from kaldi_quant.recogniser.audio_tables import write_audio_tables

    if inference.online_ivectors or inference.ivectors or inference.ivector_extractor:
        raise UsageError("--vosk-model: i-vectors come from the folder's own extractor")
    folder = Path(tempfile.mkdtemp(prefix="kaldi-quant-"))
    try:
        bad = BadUtterances(inference.max_bad_share)
        mfcc, extraction = vosk.mfcc_options(), vosk.extraction()
        tables = write_audio_tables(wavs, folder, mfcc, extraction, bad, inference.allow_pipes)
        yield _Calibrated(
            str(vosk.model),
            tables.features,
            wavs,
            replace(
                inference,
                online_ivectors=tables.ivectors or None,
                online_ivector_period=tables.period,
                frame_subsampling_factor=vosk.options.frame_subsampling_factor,
            ),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _quantize(
    calibrated: _Calibrated,
    folder: Path,
    quantization: QuantizationArguments,
    ranges: str | None,
    memory: Bytes,
    device: str,
    models: ModelArguments,
) -> Path:
    """Writes the integer model into a folder, and returns its path."""
    from kaldi_quant.formats.results import check_result_folder, write_result
    from kaldi_quant.nnet3.quantization import layer_configs, quantize
    from kaldi_quant.quant.kept_layers import Keeping
    from kaldi_quant.quant.ranges import read_ranges

    preset, config = quantization.resolve()
    place = calibration_device(device, config)
    given = read_ranges(ranges) if ranges else None
    inference = calibrated.inference
    read = models.read(calibrated.model)
    layer_configs(read.nnet, config)
    data = quantization.amount.of_table(read, calibrated.features, inference, place)
    companions = companions_of(read, data.options.chunks.frame_subsampling_factor, inference)
    check_result_folder(folder, companions)
    hold_folder(folder)
    keeping = Keeping(folder)
    network = quantize(read.nnet, config, data, given, keeping, memory)
    more = {"calibration_frames": data.amount(), **feature_record(calibrated.model, read.nnet, inference)}
    made = write_result(folder, network, read, companions, config, calibrated.named, data, preset, more)
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
    return made.path
