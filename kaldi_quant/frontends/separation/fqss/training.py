"""What train.py does: float training, or quantization-aware training with the float network as the teacher."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.api import files, finetuning
from kaldi_quant.api.quantization import Quantized, quantize
from kaldi_quant.api.training import qat
from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import KaldiQuantError, UsageError
from kaldi_quant.frontends.separation.data import SeparationSet, held_out_batches
from kaldi_quant.frontends.separation.fqss.config import config_of
from kaldi_quant.frontends.separation.fqss.data import pieces, read_training
from kaldi_quant.frontends.separation.fqss.models import integer_file, read_float, write_float, write_quantized
from kaldi_quant.frontends.separation.fqss.quantization import scheme_of
from kaldi_quant.frontends.separation.fqss.settings import FqssSettings, TrainingCfg
from kaldi_quant.frontends.separation.fqss.systems import Chosen
from kaldi_quant.frontends.separation.fqss.work_folder import WorkFolder
from kaldi_quant.frontends.separation.losses import loss_of
from kaldi_quant.frontends.separation.schemes.scheme import SeparationScheme
from kaldi_quant.frontends.separation.schemes.taught import Taught
from kaldi_quant.frontends.separation.training.config import TrainingConfig
from kaldi_quant.frontends.separation.training.training import check_data, training_batches
from kaldi_quant.frontends.separation.training.validation import mean_score
from kaldi_quant.frontends.training.config import LOSS
from kaldi_quant.frontends.training.networks import random_network
from kaldi_quant.torchnn.batches import HeldOutScore, LossFunction
from kaldi_quant.train.checkpoint import FILE_NAME as CHECKPOINT_NAME
from kaldi_quant.train.parallel.device_context import DeviceContext

_log = logging.getLogger(__name__)
# Pieces that quantization is calibrated on.
_CALIBRATION = 16
# Those of them whose outputs the files of epochs compare with float ones.
_COMPARED = 2
# Those of validation, which asks for decibels whatever training minimises.
_PLAIN = {False: "pit-si-sdr", True: "l1"}
INTEGERS_NAME, ONNX_NAME = "best_model.safetensors", "best_model.onnx"


@dataclass(frozen=True)
class _Work:
    """What both kinds of training have in common."""

    settings: FqssSettings
    chosen: Chosen
    config: TrainingConfig
    data: SeparationSet
    held_out: list[tuple[Tensor, Tensor]]
    score: HeldOutScore | None
    folder: WorkFolder
    place: DeviceContext

    @property
    def training(self) -> TrainingCfg:
        return self.settings.training_cfg

    @property
    def made(self) -> dict[str, Any]:
        return self.config.made(self.data.train.digest())

    @property
    def loop(self) -> dict[str, Any]:
        """Arguments that ``finetune`` and ``qat`` have in common."""
        return {
            **self.config.loop(),
            "held_out": self.held_out,
            "score": self.score,
            "place": self.place,
            "folder": self.folder.checkpoints,
        }


def train(settings: FqssSettings, chosen: Chosen, where: str, place: DeviceContext | None = None) -> Path:
    """Trains as settings say; an interrupted training goes on. Returns the file of the best network.

    Args:
        settings: of a file.
        chosen: the network that they mean.
        where: they stand, for messages.
        place: where it is computed, and by which processes; by default by this one, on the CPU.

    Raises:
        KaldiQuantError: the data, the network and the settings do not fit each other.
    """
    place, keys = place or DeviceContext(), settings.model_cfg.quantization
    config = config_of(settings, chosen)
    kd_lambda, pretrained = settings.training_cfg.kd_lambda, settings.training_cfg.pretrained
    scheme = scheme_of(keys, chosen, kd_lambda, where) if keys.qat else None
    folder = WorkFolder(Path(settings.work_dir), place.group.is_main)
    goes_on = (folder.checkpoints / CHECKPOINT_NAME).is_file()
    if not keys.observer and not goes_on:
        raise UsageError(f"{where}: observer False goes on with the training in {folder.checkpoints}: there is none")
    start = read_float(pretrained, chosen, f"{where}: training_cfg, pretrained") if scheme or pretrained else None
    data = read_training(settings, chosen, config)
    check_data(chosen.kind, data)
    dev = list(pieces(iter(data.dev), round(config.seconds * data.rate)))
    if not dev:
        raise UsageError(f"{where}: there are no development data, which choose the best epoch")
    score = None
    if config.validation.score != LOSS:
        score = mean_score(config.validation.score, dev, chosen.kind, data.dev.digest())
    held_out = held_out_batches(dev, config.batch_size)
    work = _Work(settings, chosen, config, data, held_out, score, folder, place)
    folder.write_settings(asdict(settings) | {"environment": chosen.system.environment})
    if not goes_on:
        folder.forget()
    if scheme is None:
        _train_float(work, start)
    else:
        assert start is not None
        _train_quantized(work, start, scheme)
    return folder.best


def _train_float(work: _Work, start: nn.Module | None) -> None:
    chosen, config, made = work.chosen, work.config, work.made
    network = finetuning.finetune(
        start or random_network(chosen.kind, chosen.name, {}, config.seed),
        training_batches(work.data, config),
        loss=limited(_plain_loss(chosen), work.training),
        train_mode=True,
        after_pass=lambda entry, module: work.folder.after_epoch(
            entry, config.validation.score, lambda path: write_float(path, chosen, module, made)
        ),
        **work.loop,
    )
    if work.folder.writes:
        write_float(work.folder.best, chosen, network, made)


def _train_quantized(work: _Work, network: nn.Module, scheme: SeparationScheme) -> None:
    chosen, config, kind = work.chosen, work.config, work.chosen.kind
    inputs = calibration(work.data, config)
    start = quantize(scheme.ends_of(kind, network, inputs), scheme.config_for(kind), calibration=inputs)
    batches: Any = training_batches(work.data, config)
    if scheme.teaching(kind) is not None:
        batches = Taught(batches, network, work.place.device)
    made = work.made

    compared = start.origin.data(inputs[:_COMPARED])

    def after(entry: Any, converted: Callable[[], Quantized]) -> None:
        content = cache(lambda: integer_file(replace(converted(), calibration=compared), chosen, made))
        write = partial(_write_content, chosen, content)
        work.folder.after_epoch(entry, config.validation.score, write)

    assert scheme.training is not None
    trained = qat(
        start,
        batches,
        loss=limited(_taught_loss(chosen, scheme), work.training),
        method=scheme.training.method,
        weights=scheme.training.weights,
        offsets=scheme.training.offsets,
        after_pass=after,
        **work.loop,
    )
    if work.folder.writes:
        _write_best(work.folder, chosen, trained, made)


def _write_content(chosen: Chosen, content: Callable[[], bytes], path: Path) -> None:
    write_quantized(path, chosen, content())


def _write_best(folder: WorkFolder, chosen: Chosen, trained: Quantized, made: dict[str, Any]) -> None:
    content = integer_file(trained, chosen, made)
    write_quantized(folder.best, chosen, content)
    with atomic_write(folder.path / INTEGERS_NAME) as stream:
        stream.write(content)
    _log.info("%s: %d bytes", folder.path / INTEGERS_NAME, len(content))
    try:
        files.export(trained, folder.path / ONNX_NAME)
    except KaldiQuantError as error:
        _log.warning("%s is not written: %s", folder.path / ONNX_NAME, error)


def calibration(data: SeparationSet, config: TrainingConfig) -> list[Tensor]:
    """Mixtures of training, (1, C, T) each, as they are."""
    single = replace(config, batch_size=1, augmentations={})
    return [mixture for mixture, _ in islice(training_batches(data, single).minibatches(0), _CALIBRATION)]


def _plain_loss(chosen: Chosen) -> LossFunction:
    return loss_of(chosen.kind, _PLAIN[chosen.kind.is_ordered])


def _taught_loss(chosen: Chosen, scheme: SeparationScheme) -> LossFunction:
    """With the float network's estimates beside the sources the scheme's; for sources alone the plain one."""
    plain, taught = _plain_loss(chosen), scheme.loss_of(chosen.kind)
    alone = replace(scheme, distillation=None, ordered_distillation=None).loss_of(chosen.kind)

    def loss(output: Tensor, target: Any) -> Tensor:
        if not isinstance(target, Tensor):
            return taught(output, target)
        return (alone if torch.is_grad_enabled() else plain)(output, target)

    return loss


def limited(loss: LossFunction, training: TrainingCfg) -> LossFunction:
    """A loss that teaches nothing below a threshold, and is no number above a limit: such a minibatch is left out.

    In validation it is as it was.
    """

    def found(output: Tensor, target: Any) -> Tensor:
        value = loss(output, target)
        if not torch.is_grad_enabled():
            return value
        if training.threshold_byloss:
            value = value.clamp(min=training.threshold)
        return torch.where(value < training.loss_upper_lim, value, torch.nan)

    return found
