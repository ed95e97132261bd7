"""Wav2Vec2 trained on keywords and quantized. Development data choose, test data choose nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.api import finetuning, quantization, training
from kaldi_quant.api.networks import TorchNetwork
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.frontends.keywords import examples
from kaldi_quant.frontends.keywords.data import KeywordSet
from kaldi_quant.frontends.keywords.networks.wav2vec2 import KeywordWav2Vec2, make_wav2vec2, sizes_from
from kaldi_quant.frontends.keywords.networks.wav2vec2_folder import read_wav2vec2
from kaldi_quant.frontends.keywords.wav2vec2_config import Wav2Vec2Settings
from kaldi_quant.quant.distance import KullbackLeibler
from kaldi_quant.train.hidden_features import ErrorAndAngle
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.schedules import Cosine


class Answers(nn.Module):
    """Log-probabilities, (B, 1, classes), of a network that gives logits.

    Args:
        network: waves → (B, classes).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, waves: Tensor) -> Tensor:
        """waves: (B, 1, T)."""
        return answers(self.network(waves))


def answers(logits: Tensor) -> Tensor:
    """(B, classes) → log-probabilities, (B, 1, classes)."""
    return functional.log_softmax(logits, dim=-1).unsqueeze(1)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """(): of logits, (B, classes), and answers, (B, 1, classes), as ``examples.cross_entropy``."""
    return examples.cross_entropy(answers(logits), target)


def accuracy(logits: Tensor, target: Tensor) -> Tensor:
    """(): of the same the share of recordings that are classified as the answers have it."""
    return examples.accuracy(answers(logits), target)


def first_network(keywords: KeywordSet, settings: Wav2Vec2Settings, checkpoint: Path | None) -> KeywordWav2Vec2:
    """What training or quantization begins with.

    Args:
        keywords: the data.
        settings: how it is made.
        checkpoint: its folder; None for random weights.

    Raises:
        DataError, FormatError, ModelError: its checkpoint is none, or of another network.
    """
    model = settings.model
    if checkpoint is not None:
        return read_wav2vec2(checkpoint, keywords.classes, new_head=model.new_head, seed=model.seed)
    return make_wav2vec2(keywords.classes, sizes_from({"like": model.size, **model.sizes}), model.seed)


def train_float(
    network: KeywordWav2Vec2, keywords: KeywordSet, settings: Wav2Vec2Settings, folder: Path
) -> KeywordWav2Vec2:
    """Trains in float; the epoch with the least loss on development data is taken.

    Args:
        network: is left as it is.
        keywords: the data.
        settings: how.
        folder: of the training's own checkpoint, where an interrupted one goes on, and of its record.

    Raises:
        DataError: the data cannot be used.
    """
    trained: KeywordWav2Vec2 = finetuning.finetune(
        network,
        _examples(keywords, settings, None),
        loss=cross_entropy,
        train_mode=True,
        folder=folder,
        **_loop(keywords, settings),
    )
    return trained.eval()


def quantize(network: KeywordWav2Vec2, keywords: KeywordSet, settings: Wav2Vec2Settings) -> Quantized:
    """Quantizes all of it after training; the calibration set is drawn from the training data."""
    calibration = calibration_set(keywords, settings)
    return quantization.quantize(TorchNetwork(network, KullbackLeibler()), settings.preset, calibration=calibration)


def calibration_set(keywords: KeywordSet, settings: Wav2Vec2Settings) -> list[Tensor]:
    """Waves of the training data to calibrate on, (B, 1, T) each."""
    data, model = settings.data, settings.model
    batch = min(data.batch_size, model.calibration)
    return list(examples.drawn(keywords.train, model.calibration, data.sample_rate, batch, model.seed))


def train_quantized(start: Quantized, keywords: KeywordSet, settings: Wav2Vec2Settings, folder: Path) -> Quantized:
    """Trains a quantized network on labels, on what the float one answers, and on its hidden layers.

    Args:
        start: as ``quantize`` gives it.
        keywords: the data.
        settings: how.
        folder: as of ``train_float``.
    """
    assert isinstance(start.origin, TorchNetwork)
    train = settings.train
    return training.qat(
        start,
        _examples(keywords, settings, Answers(start.origin.module.eval())),
        loss=cross_entropy,
        features=train.features.split(),
        feature_share=train.feature_share,
        feature_loss=ErrorAndAngle(train.alpha),
        folder=folder,
        **_loop(keywords, settings),
    )


def _examples(keywords: KeywordSet, settings: Wav2Vec2Settings, teacher: nn.Module | None) -> examples.Examples:
    train = settings.train
    return examples.Examples(
        keywords.train,
        len(keywords.classes),
        settings.data.sample_rate,
        train.batch_size,
        examples.Changes(train.shift, train.speed, train.gain, train.noise),
        train.seed,
        teacher,
        train.teacher,
    )


def _loop(keywords: KeywordSet, settings: Wav2Vec2Settings) -> dict[str, Any]:
    """AdamW with a warm-up; the best epoch is kept, however early it was."""
    train, data = settings.train, settings.data
    return {
        "epochs": train.n_epoch,
        "held_out": examples.held_out(keywords.dev, len(keywords.classes), data.sample_rate, data.batch_size),
        "optimizer": OptimizerOptions(
            clip_norm=1.0, max_param_change=0.0, warm_up=train.warm_up, weight_decay=train.weight_decay
        ),
        "schedule": Cosine(train.lr, train.lr_final),
        "early_stopping": train.n_epoch,
        "watched": {"accuracy": accuracy},
    }
