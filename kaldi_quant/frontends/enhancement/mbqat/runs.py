"""What MBQAT's programs do: train, test, enhance files, quantize what was trained."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import nn

from kaldi_quant.api import files
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.frontends.enhancement.data import EnhancementSet, MixOptions, Pair, ReadOptions, read_enhancement
from kaldi_quant.frontends.enhancement.enhancers import RECORD_KEY
from kaldi_quant.frontends.enhancement.mbqat.folders import (
    FLOAT_NAME,
    QUANTIZED_NAME,
    VALIDATIONS,
    Model,
    Workspace,
    find_model,
    read_model,
)
from kaldi_quant.frontends.enhancement.mbqat.settings import DYNAMIC, MbqatSettings
from kaldi_quant.frontends.enhancement.mbqat.table import ENHANCED_ROW, TORCH_ROW, printed_scores
from kaldi_quant.frontends.enhancement.networks.known import Around
from kaldi_quant.frontends.enhancement.schemes.dynamic import dynamic_by_own, dynamic_by_torch
from kaldi_quant.frontends.enhancement.schemes.quantization import quantize_by
from kaldi_quant.frontends.enhancement.scores.predictions import write_predictions
from kaldi_quant.frontends.enhancement.training.checkpoint import write_network
from kaldi_quant.frontends.enhancement.training.config import TrainingConfig
from kaldi_quant.frontends.enhancement.training.losses import loss_of
from kaldi_quant.frontends.enhancement.training.minibatches import TrainingBatches
from kaldi_quant.frontends.enhancement.training.training import train_float
from kaldi_quant.frontends.signals.audio import read_audio
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.frontends.signals.wave_files import peak_normalized, write_wav

_log = logging.getLogger(__name__)
_LAYOUT, _LOSS = "mbqat", "magnitude-mse"
# Of 6 seconds each; MBQAT calibrates on 16,000.
_CALIBRATION = 32
_SCHEME = "ours-w8a8"
_TRAINING = "training"
_MADE = "_time"
# Of raw files, at most.
_VALIDATION_CROPS = 64
# So many recordings of the development data are left as WAV files.
_VALIDATIONS = 8


def read_data(settings: MbqatSettings) -> EnhancementSet:
    """The data that settings name.

    Raises:
        DataError: they are missing or broken.
    """
    if settings.data_dir:
        return read_enhancement(Path(settings.data_dir), settings.layout, MixOptions(snr_list=settings.tr_snr))
    reading = ReadOptions(
        sample_rate=settings.sample_rate,
        num_training_samples=settings.num_train,
        num_validation_samples=_VALIDATION_CROPS,
        speech_file=str(Path(settings.speech_file).absolute()),
        noise_file=str(Path(settings.noise_file).absolute()),
        eval_file=str(Path(settings.eval_file).absolute()) if settings.eval_file else "",
        test_path=str(Path(settings.test_path).absolute()),
        speech_len=settings.speech_len / settings.sample_rate,
    )
    mixing = MixOptions(style="mbqat", snr_list=settings.tr_snr)
    return read_enhancement(Path.cwd(), _LAYOUT, mixing, reading)


def train(place: Workspace, start: Path | None) -> Path:
    """Trains, and quantizes where the folder is one of quantized networks; returns the file of the best network.

    Args:
        place: the folder's.
        start: of a float network that is trained further, or quantized; None for training in float from the start.

    Raises:
        KaldiQuantError: the data, the start and the settings do not fit each other.
    """
    data = read_data(place.settings)
    config = place.settings.training(place.variant, len(data.train))
    given = None if start is None else read_model(find_model(start, FLOAT_NAME), place.variant)
    if given is not None and given.quantized is not None:
        raise UsageError(f"{given.path} is quantized: training begins with a float network")
    path = place.checkpoints / FLOAT_NAME
    network: nn.Module
    if given is None or not place.variant.scheme:
        network = train_float(
            place.kind, data, config, place.output / _TRAINING, None if given is None else given.network
        )
        write_network(path, place.variant.network, network, config.made(data.train.digest()))
    else:
        network = given.network
    if place.variant.scheme:
        path = _train_quantized(place, data, config, network)
    _write_validations(place, data, read_model(path, place.variant))
    return path


def _train_quantized(place: Workspace, data: EnhancementSet, config: TrainingConfig, network: nn.Module) -> Path:
    batches = _batches(place, data, config)
    quantized = quantize_by(
        place.variant.scheme,
        place.kind,
        network,
        calibration_inputs(place, data),
        batches,
        loss_of(config.loss, place.kind.around),
        epochs=config.epochs,
        folder=place.output / f"{_TRAINING}-{place.variant.scheme}",
    )
    path = place.checkpoints / QUANTIZED_NAME
    made = config.made(data.train.digest())
    size = files.save(quantized, path, {RECORD_KEY: {"network": place.variant.network, **made}})
    _log.info("%s: %d bytes", path, size)
    return path


def _batches(place: Workspace, data: EnhancementSet, config: TrainingConfig) -> TrainingBatches:
    return TrainingBatches(
        data.train,
        place.kind.around,
        batch_size=config.batch_size,
        seconds=config.seconds,
        seed=config.seed,
        rate=data.rate,
    )


def calibration_inputs(place: Workspace, data: EnhancementSet) -> list[torch.Tensor]:
    """Inputs of the network for some pieces of training, one at a time."""
    config = replace(place.settings.training(place.variant, len(data.train)), batch_size=1)
    return [inputs for inputs, _ in islice(_batches(place, data, config).minibatches(0), _CALIBRATION)]


@torch.no_grad()
def enhanced(around: Around, network: nn.Module, noisy: Iterable[tuple[str, Array]]) -> dict[str, Array]:
    """(S,) by name, of noisy waves by name."""
    return {name: around.enhance(network, torch.from_numpy(wave)[None])[0].numpy() for name, wave in noisy}


def _write_validations(place: Workspace, data: EnhancementSet, model: Model) -> None:
    """``Batch<k>_{mix,tgt,time}.wav`` of development data."""
    for number, pair in enumerate(islice(data.dev, _VALIDATIONS)):
        made = enhanced(place.kind.around, model.network, [(pair.name, pair.noisy)])[pair.name]
        for what, wave in (("mix", pair.noisy), ("tgt", pair.clean), ("time", made)):
            path = place.output / VALIDATIONS / f"Batch{number}_{what}.wav"
            write_wav(path, peak_normalized(wave), data.rate)


def test(place: Workspace, model: Path) -> str:
    """Enhances the test set, writes its WAV files, and returns the table of its scores.

    Args:
        place: the folder's.
        model: a file, or a folder that holds one.

    Raises:
        KaldiQuantError: the data or the model cannot be used.
    """
    prefer = QUANTIZED_NAME if place.variant.scheme else FLOAT_NAME
    found = read_model(find_model(model, prefer), place.variant)
    return _tested(place, read_data(place.settings), {ENHANCED_ROW: found.network})


def _tested(place: Workspace, data: EnhancementSet, networks: Mapping[str, nn.Module]) -> str:
    """The table with a row for each network; WAV files are those of the first."""
    pairs: list[Pair] = list(data.test)
    made = {
        row: enhanced(place.kind.around, network, ((pair.name, pair.noisy) for pair in pairs))
        for row, network in networks.items()
    }
    write_predictions(place.output, pairs, next(iter(made.values())), data.rate)
    return printed_scores(pairs, made, data.rate)


def infer(place: Workspace, model: Path, source: Path, target: Path) -> list[Path]:
    """Enhances the WAV files of a folder, and returns the files ``<name>_time.wav``.

    Args:
        place: the folder's.
        model: a file, or a folder that holds one.
        source: the folder of noisy files.
        target: where enhanced ones are written.

    Raises:
        KaldiQuantError: there are no files, or they or the model cannot be used.
    """
    prefer = QUANTIZED_NAME if place.variant.scheme else FLOAT_NAME
    network = read_model(find_model(model, prefer), place.variant).network
    paths = [path for path in sorted(source.glob("*.wav")) if not path.stem.endswith(_MADE)]
    if not paths:
        raise DataError(f"{source} has no WAV files: expected a folder of noisy speech")
    found = []
    for path in paths:
        wave = read_audio(path, place.settings.sample_rate)
        if not len(wave):
            raise DataError(f"{path} has no samples")
        made = enhanced(place.kind.around, network, [(path.stem, wave)])
        found.append(target / f"{path.stem}{_MADE}.wav")
        write_wav(found[-1], made[path.stem], place.settings.sample_rate)
    return found


def quantize_trained(place: Workspace) -> str:
    """Quantizes the network below ``PTQ_load_path``, writes it below ``PTQ_save_path``, and returns the test's table.

    What training has quantized, its LSTM with dynamic ranges included, is taken as it is. A float network is quantized
    as a whole with static ranges (``PTQ_type`` s), or (d) in its LSTM alone with dynamic ones; then PyTorch's dynamic
    quantization has a row beside it.

    Args:
        place: the folder's.

    Raises:
        KaldiQuantError: the data or the model cannot be used.
    """
    settings, kind = place.settings, place.kind
    output = Path(settings.output_dir)
    load, save = (output / path.strip("/") for path in (settings.PTQ_load_path, settings.PTQ_save_path))
    found = read_model(find_model(load, QUANTIZED_NAME if place.variant.scheme else FLOAT_NAME), place.variant)
    data, quantized, others = read_data(settings), found.quantized, {}
    if quantized is None:
        calibration = calibration_inputs(place, data)
        if settings.PTQ_type == DYNAMIC:
            others = {TORCH_ROW: dynamic_by_torch(found.network)}
            quantized = dynamic_by_own(kind, found.network, calibration, others="float")
        else:
            quantized = quantize_by(
                _SCHEME, kind, found.network, calibration, (), loss_of(_LOSS, kind.around), epochs=1
            )
    files.save(quantized, save / QUANTIZED_NAME)
    return _tested(place, data, {ENHANCED_ROW: quantized.network.model(), **others})
