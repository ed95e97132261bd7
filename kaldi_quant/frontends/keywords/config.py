"""What ``main.py`` and ``evaluate.py`` of ``egs/keywords`` are told by a file: data, network, method, training."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.keywords.networks.m5 import BLOCKS
from kaldi_quant.frontends.methods import AWQ, FLOAT, PTQ, QAT
from kaldi_quant.quant.layer_config import one_of
from kaldi_quant.settings import above_0, at_least_0, changed, read_yaml, shares
from kaldi_quant.units import Seconds

#: What ``model_type`` may be: how the network is made, and whether one block at a time is quantized.
MODEL_TYPES = {
    "cnn_fp32": (FLOAT, False),
    "cnn_ptq": (PTQ, False),
    "cnn_ptq_static": (PTQ, False),
    "cnn_qat": (QAT, False),
    "cnn_awq": (AWQ, False),
    "cnn_ptq_LayerWiseQuant": (PTQ, True),
    "cnn_qat_LayerWiseQuant": (QAT, True),
}
_PRESETS = {PTQ: "w8a8", QAT: "w8a8", AWQ: "awq-w4"}


@dataclass(frozen=True)
class DataConfig:
    """Recordings.

    Args:
        raw_dir: their folder, relative to where the program is called.
        layout: of the folder, a name of ``data.LAYOUTS``; auto is told by what lies there.
        processed_dir: is taken and not used: waves are made when they are asked for.
        sample_rate: of the waves that networks hear, in Hz; recordings of another rate are resampled.
        batch_size: recordings side by side.
        version: is taken, and noted beside results.
    """

    raw_dir: str = "./data"
    layout: str = "auto"
    processed_dir: str = ""
    sample_rate: int = 8000
    batch_size: int = 256
    version: str = ""


@dataclass(frozen=True)
class BaseCnn:
    """M5.

    Args:
        n_input: channels of waves.
        n_output: classes; 0 for those that the data have.
        stride: of the first convolution.
        n_channel: of the first two blocks.
        conv_kernel_sizes: of all blocks.
        pretrained_path: of the float checkpoint that quantization begins with.
        seed: of the calibration set, and of training where ``train`` has none.
        version: is taken, and noted beside results.
    """

    n_input: int = 1
    n_output: int = 0
    stride: int = 16
    n_channel: int = 32
    conv_kernel_sizes: tuple[int, ...] = (80, 3, 3, 3)
    pretrained_path: str = "./models/cnn_fp32_model.pth"
    seed: int = 42
    version: str = ""


@dataclass(frozen=True)
class ModelConfig:
    """The network and how it is quantized.

    Args:
        base_cnn: the float network.
        output: the file that is made; empty for ``models/<model_type>_model`` with a suffix of its kind.
        quantization: the blocks that are quantized alone, each in a network of its own, in the LayerWiseQuant types.
        preset: how weights and activations are quantized; empty for that of the method.
        calibration: so many recordings of the training data, drawn at random, are calibrated on.
    """

    base_cnn: BaseCnn = field(default_factory=BaseCnn)
    output: str = ""
    quantization: tuple[int, ...] = ()
    preset: str = ""
    calibration: int = 512


@dataclass(frozen=True)
class TrainConfig:
    """Training by Adam and torch's ``StepLR``.

    Args:
        lr: the learning rate at the beginning.
        weight_decay: this times each weight is added to its gradient.
        step_size: epochs after which the learning rate is multiplied.
        gamma: by this.
        log_interval: is taken and not used: each epoch is reported.
        n_epoch: passes over the training data.
        seed: of initial weights, order and what is changed at random.
        batch_size: recordings in a minibatch; 0 for that of the data.
        shift: each recording is moved in time by up to so much in either direction.
        speed: and made faster or slower by up to this share.
        gain: and made louder or softer by up to so many dB.
        noise: and covered by white noise, so many dB below it at the least; 0 for none.
        teacher: in quantization-aware training, the share of the float network's answers in what is learned; the rest
            are the labels.
        version: is taken, and noted beside results.
    """

    lr: float = 0.001
    weight_decay: float = 0.0001
    step_size: int = 10
    gamma: float = 0.1
    log_interval: int = 100
    n_epoch: int = 20
    seed: int = 42
    batch_size: int = 0
    shift: Seconds = 0.0
    speed: float = 0.0
    gain: float = 0.0
    noise: float = 0.0
    teacher: float = 0.0
    version: str = ""


@dataclass(frozen=True)
class KeywordConfig:
    """All of it.

    Args:
        data: recordings.
        model_type: what is made, a name of ``MODEL_TYPES``.
        model: the network.
        train: its training.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model_type: str = "cnn_fp32"
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    @property
    def method(self) -> str:
        """FLOAT, PTQ, QAT or AWQ."""
        return MODEL_TYPES[self.model_type][0]

    @property
    def is_layer_wise(self) -> bool:
        """Whether one block at a time is quantized."""
        return MODEL_TYPES[self.model_type][1]

    @property
    def preset(self) -> str:
        """How the network is quantized."""
        return self.model.preset or _PRESETS.get(self.method, "")

    @property
    def batch_size(self) -> int:
        """Of training."""
        return self.train.batch_size or self.data.batch_size

    def output(self, block: int | None = None) -> Path:
        """The file that is made.

        Args:
            block: that is quantized alone; None for the whole network.
        """
        suffix = "pth" if self.method == FLOAT else "safetensors"
        if block is not None:
            folder = Path(self.model.output).parent if self.model.output else Path("models")
            return folder / f"{self.model_type}_q{block}_model.{suffix}"
        return Path(self.model.output or f"models/{self.model_type}_model.{suffix}")


def read_keyword_config(path: str | Path) -> KeywordConfig:
    """Reads a configuration.

    Raises:
        UsageError: the file is missing or no YAML, has a key that does not exist, or a value that is impossible.
    """
    where = str(path)
    found: KeywordConfig = changed(KeywordConfig(), read_yaml(path), where)
    one_of(f"{where}: model_type", found.model_type, MODEL_TYPES)
    _check_numbers(found, where)
    blocks = found.model.quantization
    if found.is_layer_wise and not blocks:
        raise UsageError(f"{where}: {found.model_type} needs model, quantization: the blocks, such as [1, 2, 3, 4]")
    if blocks and not found.is_layer_wise:
        raise UsageError(f"{where}: model, quantization is for the types *_LayerWiseQuant, not for {found.model_type}")
    if any(not 1 <= block <= BLOCKS for block in blocks) or len(set(blocks)) < len(blocks):
        raise UsageError(f"{where}: model, quantization must be blocks from 1 to {BLOCKS}, found {list(blocks)}")
    return found


def _check_numbers(config: KeywordConfig, where: str) -> None:
    data, model, train = config.data, config.model, config.train
    positive = {
        "data, sample_rate": data.sample_rate,
        "data, batch_size": data.batch_size,
        "model, calibration": model.calibration,
        "train, lr": train.lr,
        "train, step_size": train.step_size,
        "train, n_epoch": train.n_epoch,
    }
    not_negative = {
        "model, base_cnn, n_output": model.base_cnn.n_output,
        "model, base_cnn, seed": model.base_cnn.seed,
        "train, seed": train.seed,
        "train, weight_decay": train.weight_decay,
        "train, batch_size": train.batch_size,
        "train, shift": train.shift,
        "train, speed": train.speed,
        "train, gain": train.gain,
        "train, noise": train.noise,
    }
    above_0(where, positive)
    at_least_0(where, not_negative)
    if not 0 < train.gamma < 1:
        raise UsageError(f"{where}: train, gamma must be between 0 and 1, found {train.gamma}")
    shares(where, {"train, teacher": train.teacher})
