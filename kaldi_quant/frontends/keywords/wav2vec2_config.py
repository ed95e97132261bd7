"""What ``wav2vec2.py`` of ``egs/keywords`` is told by a file: data, network, method, training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.cells import cell_name
from kaldi_quant.frontends.keywords.config import DataConfig
from kaldi_quant.frontends.methods import AWQ, FLOAT, ONNXRUNTIME, PTQ, QAT, TORCH
from kaldi_quant.quant.layer_config import one_of
from kaldi_quant.settings import above_0, at_least_0, changed, read_yaml, shares
from kaldi_quant.units import Seconds

#: What ``model_type`` may be: how the network is made.
MODEL_TYPES = {f"wav2vec2_{method}": method for method in (FLOAT, PTQ, QAT, AWQ, ONNXRUNTIME, TORCH)}
_PRESETS = {FLOAT: "", PTQ: "w8a8", QAT: "w4a8", AWQ: "awq-w4-g32", ONNXRUNTIME: "", TORCH: ""}


@dataclass(frozen=True)
class Wav2Vec2Config:
    """The network and how it is quantized.

    Args:
        size: a name of ``networks.wav2vec2.SIZES``.
        sizes: what is different from it, by the names of ``Wav2Vec2Sizes``.
        pretrained: the folder of a float checkpoint: training in float begins with it, quantization is of it. Empty for
            random weights; of quantized networks for the float cell beside them.
        new_head: whether its two last layers are left out, for another task.
        preset: how weights and activations are quantized; empty for that of the method.
        calibration: so many recordings of the training data, drawn at random, are calibrated on.
        seed: of random weights and of the calibration set.
    """

    size: str = "tiny"
    sizes: dict[str, Any] = field(default_factory=dict)
    pretrained: str = ""
    new_head: bool = False
    preset: str = ""
    calibration: int = 128
    seed: int = 0


@dataclass(frozen=True)
class Wav2Vec2Training:
    """Training by Adam, its learning rate falling as a cosine.

    Args:
        n_epoch: passes over the training data; of quantization-aware training 0 is none.
        lr: the learning rate, which grows over the warm-up.
        lr_final: that of the last epoch.
        warm_up: steps of that.
        weight_decay: as of AdamW.
        batch_size: recordings in a minibatch.
        shift: each recording is moved in time by up to so much in either direction.
        speed: made faster or slower, and higher or lower with it, by up to this share.
        gain: made louder or softer by up to so many dB.
        noise: and covered by white noise, so many dB below it at the least; 0 for none.
        seed: of order and of what is changed at random.
        teacher: in quantization-aware training, the share of the float network's answers in what the output learns;
            the rest are the labels.
        features: hidden nodes that learn from the float network's: patterns of names, apart by blanks.
        feature_share: of the loss that they have.
        alpha: the share of the squared error in their loss; the rest is one minus the cosine.
    """

    n_epoch: int = 20
    lr: float = 2e-3
    lr_final: float = 2e-5
    warm_up: int = 60
    weight_decay: float = 0.01
    batch_size: int = 32
    shift: Seconds = 0.1
    speed: float = 0.0
    gain: float = 0.0
    noise: float = 0.0
    seed: int = 0
    teacher: float = 0.0
    features: str = ""
    feature_share: float = 0.5
    alpha: float = 0.5


@dataclass(frozen=True)
class Wav2Vec2Settings:
    """All of it.

    Args:
        data: recordings.
        model_type: what is made, a name of ``MODEL_TYPES``.
        model: the network.
        train: its training.
    """

    data: DataConfig = field(default_factory=lambda: DataConfig(sample_rate=16000, batch_size=64))
    model_type: str = "wav2vec2_fp32"
    model: Wav2Vec2Config = field(default_factory=Wav2Vec2Config)
    train: Wav2Vec2Training = field(default_factory=Wav2Vec2Training)

    @property
    def method(self) -> str:
        """A value of ``MODEL_TYPES``."""
        return MODEL_TYPES[self.model_type]

    @property
    def preset(self) -> str:
        """How the network is quantized; empty for not at all."""
        return self.model.preset or _PRESETS[self.method]

    @property
    def cell(self) -> str:
        """The name of the cell that is made, among those of the network."""
        return cell_name(self.method, self.preset)


def read_settings(path: str | Path, preset: str = "") -> Wav2Vec2Settings:
    """Reads a configuration.

    Args:
        path: of the file.
        preset: in the place of its own; empty for its own.

    Raises:
        UsageError: the file is missing or no YAML, has a key that does not exist, or a value that is impossible.
    """
    found: Wav2Vec2Settings = changed(Wav2Vec2Settings(), read_yaml(path), str(path))
    found = replace(found, model=replace(found.model, preset=preset or found.model.preset))
    one_of(f"{path}: model_type", found.model_type, MODEL_TYPES)
    if found.data.sample_rate != 16000:
        raise UsageError(f"{path}: data, sample_rate must be 16000 for Wav2Vec2, found {found.data.sample_rate}")
    if not _PRESETS[found.method] and found.model.preset:
        raise UsageError(f"{path}: model, preset is for networks that are quantized here, not for {found.model_type}")
    _check_numbers(found, str(path))
    return found


def _check_numbers(settings: Wav2Vec2Settings, where: str) -> None:
    model, train = settings.model, settings.train
    positive = {
        "data, batch_size": settings.data.batch_size,
        "model, calibration": model.calibration,
        "train, lr": train.lr,
        "train, lr_final": train.lr_final,
        "train, batch_size": train.batch_size,
        "train, n_epoch": train.n_epoch,
    }
    not_negative = {
        "model, seed": model.seed,
        "train, seed": train.seed,
        "train, warm_up": train.warm_up,
        "train, weight_decay": train.weight_decay,
        "train, shift": train.shift,
        "train, speed": train.speed,
        "train, gain": train.gain,
        "train, noise": train.noise,
    }
    above_0(where, positive)
    at_least_0(where, not_negative)
    of_losses = {"teacher": train.teacher, "feature_share": train.feature_share, "alpha": train.alpha}
    shares(where, {f"train, {name}": value for name, value in of_losses.items()})
