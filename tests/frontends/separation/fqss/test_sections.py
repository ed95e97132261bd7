"""FQSS's keys: all that it documents are read, those of two other programs, too, and others are refused by name."""

from pathlib import Path
from typing import Any

import pytest

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.fqss.config import config_of
from kaldi_quant.frontends.separation.fqss.sections import read_settings
from kaldi_quant.frontends.separation.fqss.settings import FqssSettings
from kaldi_quant.frontends.separation.fqss.systems import Chosen
from tests.frontends.separation.fqss.libri_mix import settings, write

CONFIGS = Path(__file__).resolve().parents[4] / "egs/separation/configs"
SPEECHBRAIN = """
N_epochs: 60
batch_size: 1
lr: 0.00015
clip_grad_norm: 5
loss_upper_lim: 999999
limit_training_signal_len: True
training_signal_len: 32000
auto_mix_prec: True
test_only: False
save_folder: !ref <work_dir>/save
use_wham_noise: !ref <dataset_cfg[noisy]>
seed: 1234
kd_lambda: 0.1
num_spks: !ref <model_cfg[n_src]>
threshold_byloss: True
threshold: -30
dataloader_opts: {batch_size: !ref <batch_size>, num_workers: 2}
optimizer: !name:torch.optim.Adam
    lr: !ref <lr>
    weight_decay: 0
lr_scheduler: !new:speechbrain.nnet.schedulers.ReduceLROnPlateau
    factor: 0.5
    patience: 3
    dont_halve_until_epoch: 20
use_wavedrop: False
use_speedperturb: True
use_rand_shift: False
min_shift: -8000
max_shift: 8000
speedperturb: !new:speechbrain.lobes.augment.TimeDomainSpecAugment
    perturb_prob: 1.0
    speeds: [90, 110]
modules: {model: !ref <save_folder>}
pretrained_separator: !new:speechbrain.utils.parameter_transfer.Pretrainer
    collect_in: !ref <save_folder>
    paths:
        model: float.pth
work_dir: out
model_cfg: {name: Sepformer, n_src: 2, kernel_size: 16, stride: 8}
dataset_cfg: {name: librimix, data_folder: data, noisy: False}
"""
HTDEMUCS = """
defaults: [_self_]
model: htdemucs
model_cfg: {name: HTDemucs, quantization: {qat: True}}
dataset_cfg: {name: musdbhq}
work_dir: out
dora: {dir: out}
dset: {musdb: data, samplerate: 44100, segment: 10, shift: 1, channels: 2, use_musdb: true, wav: , sources: [drums]}
test: {metric: nsdr, every: 1000}
epochs: 90
batch_size: 32
max_batches: 3
optim: {lr: 0.0003, momentum: 0.9, beta2: 0.999, loss: l1, optim: adamw, weight_decay: 0.1, clip_grad: 0}
seed: 42
weights: [1., 1., 1., 1.]
kd_lambda: 0.1
augment:
  shift_same: false
  repitch: {proba: 0.3, max_tempo: 12}
  remix: {proba: 1, group_size: 4}
  scale: {proba: 1, min: 0.5, max: 1.25}
  flip: true
pretrained: float.pth
misc: {num_workers: 10, show: false}
ema: {epoch: [], batch: []}
htdemucs: {nfft: 2048}
svd: {penalty: 0}
"""


def read(content: dict[str, Any] | str, folder: Path, environment: str = "") -> tuple[FqssSettings, Chosen]:
    path = folder / "c.yaml"
    if isinstance(content, str):
        path.write_text(content)
    else:
        write(path, content)
    return read_settings(path, environment)


@pytest.mark.parametrize(
    ("name", "environment", "network"),
    [
        ("convtasnet_2spks_8k", "asteroid", "conv-tasnet"),
        ("dptnet_2spks_8k", "asteroid", "dptnet"),
        ("sepformer_2spks_8k", "speechbrain", "sepformer"),
        ("convtasnet_music", "tasnet", "conv-tasnet-music"),
        ("htdemucs", "htdemucs", "htdemucs"),
        ("convtasnet_small", "asteroid", "conv-tasnet-small"),
        ("convtasnet_small_float", "asteroid", "conv-tasnet-small"),
    ],
)
def test_the_configurations_are_read(name: str, environment: str, network: str) -> None:
    found, chosen = read_settings(CONFIGS / f"{name}.yaml", environment)
    assert chosen.name == network and f"Environment: {environment}" in (CONFIGS / f"{name}.yaml").read_text()
    assert config_of(found, chosen).epochs == found.training_cfg.epochs
    assert {path.stem for path in CONFIGS.glob("*.yaml")} >= {name}


def test_hyper_parameters_are_those_of_the_systems() -> None:
    configs = {
        name: config_of(*read_settings(CONFIGS / f"{name}.yaml")) for name in ("convtasnet_2spks_8k", "htdemucs")
    }
    speech, music = configs.values()
    assert (speech.schedule.name, speech.schedule.factor, speech.schedule.patience) == ("plateau", 0.5, 6)
    assert (speech.epochs, speech.batch_size, speech.schedule.lr, speech.seconds) == (50, 2, 1e-3, 3.0)
    assert speech.optimizer.clip_norm == 5.0 and speech.validation.patience == 30 and not speech.augmentations
    assert (music.epochs, music.batch_size, music.schedule.lr, music.seconds) == (90, 32, 3e-4, 10.0)
    assert (music.schedule.name, music.optimizer.clip_norm, music.validation.patience) == ("constant", 0.0, 90)
    assert list(music.augmentations) == ["repitch", "shift", "flip-channels", "flip-sign", "scale", "remix"]


def test_speechbrain_s_keys_are_read(tmp_path: Path) -> None:
    found, chosen = read(SPEECHBRAIN, tmp_path, "speechbrain")
    config, training = config_of(found, chosen), found.training_cfg
    assert (config.epochs, config.batch_size, config.seconds, config.seed) == (60, 1, 4.0, 1234)
    assert config.augmentations == {"speed": {"percent": [90, 110]}}
    assert (config.schedule.name, config.schedule.lr, config.schedule.patience, config.schedule.hold) == (
        "plateau",
        1.5e-4,
        4,
        20,
    )
    assert training.auto_mix_prec and training.threshold_byloss and training.threshold == -30.0
    assert (training.pretrained, training.kd_lambda, training.num_workers) == ("float.pth", 0.1, 2)


def test_htdemucs_s_keys_are_read(tmp_path: Path) -> None:
    found, chosen = read(HTDEMUCS, tmp_path, "htdemucs")
    config = config_of(found, chosen)
    assert (found.dataset_cfg.train_dir, found.dataset_cfg.train, found.dataset_cfg.data_stride) == ("data", 96, 44100)
    assert config.augmentations == {
        "repitch": {"share": 0.3},
        "shift": {"samples": 44100},
        "flip-channels": {},
        "flip-sign": {},
        "scale": {"low": 0.5, "high": 1.25, "share": 1},
        "remix": {"group": 4, "share": 1},
    }
    assert (config.optimizer.weight_decay, config.optimizer.l2_penalty, config.schedule.lr) == (0.1, 0.0, 3e-4)
    assert (config.validation.score, found.training_cfg.pretrained, chosen.sizes) == (
        "NSDR",
        "float.pth",
        {"nfft": 2048},
    )


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("use_wavedrop: False", "use_wavedrop: True", "use_wavedrop must be False here, found True"),
        ("factor: 0.5", "factor: 0.1", "lr_scheduler: factor must be 0.5 here, found 0.1"),
        ("N_epochs", "N_epoch", "there is no key 'N_epoch'; keys are N_epochs, Sepformer,"),
        ("min_shift: -8000", "min_shift: low", "min_shift must be a number like -8000, found 'low'"),
        ("    perturb_prob", "    probability", "speedperturb: there is no key 'probability'; keys are"),
        ("noisy: False}", "noisy: False}\ntraining_cfg: {epochs: 3}", "epochs is 3, and a key outside of the sections"),
        ("dataloader_opts: {", "dataloader_opts: [1]\nx: {", "dataloader_opts: expected keys and values, found"),
    ],
)
def test_what_is_wrong_among_other_keys_is_told(before: str, after: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(SPEECHBRAIN.replace(before, after), tmp_path)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("momentum: 0.9", "momentum: 0.5", "optim: momentum must be 0.9 here, found 0.5"),
        ("epoch: []", "epoch: [0.9]", "ema: epoch must be [] here, found [0.9]"),
        ("wav: ", "wav: more", "dset: wav must be None here, found 'more'"),
        ("flip: true", "flop: true", "augment: there is no key 'flop'; keys are flip,"),
        ("weights: [1.,", "weights: [2.,", "weights must be [1.0, 1.0, 1.0, 1.0] here, found [2.0"),
    ],
)
def test_what_htdemucs_has_not_here_is_told(before: str, after: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(HTDEMUCS.replace(before, after), tmp_path)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("section", "changes", "sentence"),
    [
        ("work_dir", "", "work_dir is missing: give a folder for the results"),
        ("model_cfg", {"name": "TasNet"}, "model_cfg, name: the system 'TasNet' is not one of ConvTasNet,"),
        ("model_cfg", {"nsrc": 2}, "there is no key 'nsrc'; keys and defaults are name (), model_path ()"),
        ("model_cfg", {"quantization": {"weight_bits": 8}}, "model_cfg, quantization: there is no key 'weight_bits'"),
        ("model_cfg", {"name": "HTDemucs", "n_src": 2}, "kernel_size: HTDemucs has neither kernel_size nor stride"),
        ("model_cfg", {"sources": ["a", "b"]}, "sources: conv-tasnet-small separates s1, s2"),
        ("model_cfg", {"n_src": 3}, "dataset_cfg, n_src is 2, and the network of model_cfg separates 3"),
        ("dataset_cfg", {"sample_rate": 44100}, "sample_rate times resample is 22050 Hz, and conv-tasnet-small is for"),
        ("dataset_cfg", {"augmentation": {"distribution": "normal"}}, "the distribution 'normal' is not uniform"),
        ("dataset_cfg", {"segment": 0}, "dataset_cfg: segment must be above 0, found 0.0"),
        ("dataset_cfg", {"segment": "3s"}, "segment must be a value like 3.0, found '3s'"),
        ("training_cfg", {"epoch": 3}, "training_cfg: there is no key 'epoch'; keys and defaults are epochs (50)"),
        ("training_cfg", {"epochs": 0}, "training_cfg: epochs must be above 0, found 0"),
        ("training_cfg", {"kd_lambda": 2.0}, "training_cfg: kd_lambda must be from 0 to 1, found 2.0"),
        ("training_cfg", {"wandb": True}, "wandb must be False: what is recorded is in work_dir"),
        ("training_cfg", {"optim": {"optimizer": "lamb"}}, "optim: 'lamb' is not adam, adamw or sgd"),
        ("testing_cfg", {"overlap": 1.0}, "testing_cfg: overlap must be above 0 and up to 0.5, found 1.0"),
        ("testing_cfg", {"nsdr": True}, "testing_cfg: there is no key 'nsdr'; keys and defaults are test_dir ()"),
        ("trainer_cfg", {}, "there is no key 'trainer_cfg'; keys and defaults are work_dir"),
    ],
)
def test_what_is_wrong_in_sections_is_told(section: str, changes: Any, sentence: str, tmp_path: Path) -> None:
    content = settings(tmp_path)
    content[section] = {**content.get(section, {}), **changes} if isinstance(changes, dict) else changes
    with pytest.raises(UsageError) as caught:
        read(content, tmp_path)
    assert sentence in str(caught.value) and str(tmp_path / "c.yaml") in str(caught.value)


def test_another_environment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="conv-tasnet-small is trained in the environment asteroid: give -env asteroid"
    ):
        read(settings(tmp_path), tmp_path, "tasnet")


def test_another_number_of_sources_is_built(tmp_path: Path) -> None:
    content = settings(tmp_path, model_cfg={"n_src": 3}, dataset_cfg={"n_src": 3})
    _, chosen = read(content, tmp_path)
    assert chosen.kind.sources == ("s1", "s2", "s3") and chosen.sizes["sources"] == 3
    assert chosen.kind.build().sources == 3
