"""Settings by MBQAT's keys, as the YAML files beside its programs have them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.enhancement.mbqat.variants import Variant
from kaldi_quant.frontends.enhancement.networks.known import NETWORKS
from kaldi_quant.frontends.enhancement.training.config import TrainingConfig
from kaldi_quant.frontends.training.config import LOSS, OptimizerConfig, ScheduleConfig, ValidationConfig
from kaldi_quant.settings import above_0, changed, read_yaml
from kaldi_quant.units import Hertz

_EPOCHS_OF_A_STEP = 2
#: ``PTQ_type``: static or dynamic.
STATIC, DYNAMIC = "s", "d"


@dataclass(frozen=True)
class MbqatSettings:
    """All keys, with MBQAT's own values where they have a meaning elsewhere, too.

    Args:
        sample_rate: of all waves, in Hz.
        frame_size: samples of a frame; as all of the transform it must be what the networks are made for.
        fft_size: bins of a spectrum.
        frame_shift: samples from one frame to the next.
        lr: the learning rate of the first epoch.
        max_epoch: passes over the training data.
        epsilon: is taken and not used.
        eval_steps: the validation's distance in minibatches, rounded to whole epochs.
        num_train: crops of an epoch, of raw files.
        speech_len: samples of a crop.
        cuda_ids: is taken and not used, as is num_workers: a mixture is the same whoever makes it.
        batch_size: crops in a minibatch.
        num_workers: see cuda_ids.
        speech_file: raw speech, float32.
        noise_file: raw noise, float32.
        eval_file: a .samp file that chooses the best epoch; empty for the ends of the raw files. No test file.
        test_path: the folder of .samp files of the test.
        output_dir: of all results.
        tr_snr: ratios of speech to noise in training, in dB.
        test_wav: is taken and not used: calibration uses training data.
        PTQ_type: of PTQ_100k.py and dynamic_quant_*.py: s for static, d for dynamic ranges of the LSTM.
        PTQ_load_path: what these load, below output_dir.
        PTQ_save_path: where these save, below output_dir.
        data_dir: a folder of speech in the place of the raw files and test_path; empty for these.
        layout: of that folder.
    """

    sample_rate: Hertz = 16000
    frame_size: int = 320
    fft_size: int = 161
    frame_shift: int = 160
    lr: float = 2e-4
    max_epoch: int = 600
    epsilon: float = 1e-7
    eval_steps: int = 300
    num_train: int = 320000
    speech_len: int = 96000
    cuda_ids: str = ""
    batch_size: int = 512
    num_workers: int = 0
    speech_file: str = "./datasets/speech.bin"
    noise_file: str = "./datasets/noise.bin"
    eval_file: str = ""
    test_path: str = "./datasets/test_samps/"
    output_dir: str = "./result/"
    tr_snr: tuple[int, ...] = (-5, -4, -3, -2, -1, 0, 2, 5)
    test_wav: str = ""
    PTQ_type: str = STATIC
    PTQ_load_path: str = ""
    PTQ_save_path: str = ""
    data_dir: str = ""
    layout: str = "auto"

    def training(self, variant: Variant, items: int) -> TrainingConfig:
        """How the float network is trained; items: of an epoch."""
        steps = max(1, items // self.batch_size)
        return TrainingConfig(
            network=variant.network,
            loss="magnitude-mse",
            epochs=self.max_epoch,
            batch_size=self.batch_size,
            seconds=self.speech_len / self.sample_rate,
            optimizer=OptimizerConfig(amsgrad=True, clip_norm=0.0),
            schedule=ScheduleConfig("step", lr=self.lr, every=_EPOCHS_OF_A_STEP, factor=variant.gamma),
            # The best epoch is taken, and none ends training.
            validation=ValidationConfig(LOSS, max(1, round(self.eval_steps / steps)), self.max_epoch),
        )


def read_settings(path: Path, variant: Variant) -> MbqatSettings:
    """Reads a file.

    Raises:
        UsageError: it is missing or no YAML, has a key that does not exist, or a value that is impossible.
    """
    where, found = str(path), changed(MbqatSettings(), read_yaml(path), str(path))
    names = ("sample_rate", "lr", "max_epoch", "eval_steps", "num_train", "speech_len", "batch_size")
    above_0(where, {name: getattr(found, name) for name in names})
    stft = NETWORKS[variant.network].around.stft
    expected = {"sample_rate": 16000, "fft_size": stft.bins, "frame_shift": stft.hop, "frame_size": 2 * stft.hop}
    for name, value in expected.items():
        if getattr(found, name) != value:
            there = getattr(found, name)
            raise UsageError(f"{where}: {name} must be {value} for the network {variant.network}, found {there}")
    if found.PTQ_type not in (STATIC, DYNAMIC):
        raise UsageError(f"{where}: PTQ_type must be {STATIC} or {DYNAMIC}, found {found.PTQ_type!r}")
    result: MbqatSettings = found
    return result
