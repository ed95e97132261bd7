"""Reads FQSS's files, with the keys of SpeechBrain's and HTDemucs's files as sections."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.fqss.other_keys import with_sections
from kaldi_quant.frontends.separation.fqss.settings import FqssSettings
from kaldi_quant.frontends.separation.fqss.systems import ENVIRONMENTS, Chosen, chosen_network, system_of
from kaldi_quant.frontends.separation.fqss.tagged_yaml import read_tagged_yaml
from kaldi_quant.registry import Registry
from kaldi_quant.settings import above_0, at_least_0, changed, shares

_OPTIMIZERS: Registry[str] = Registry("optimizer")
for _name in ("adam", "adamw", "sgd"):
    _OPTIMIZERS.add(_name)(_name)


def read_settings(path: str | Path, environment: str = "") -> tuple[FqssSettings, Chosen]:
    """Reads a file.

    Args:
        path: of the YAML file; relative paths in it are seen from the current folder, as FQSS has it.
        environment: that it should be for; empty for whatever its system has.

    Returns:
        the settings, and the network that they mean.

    Raises:
        UsageError: the file is missing or no YAML, has a key that does not exist, or a value that is impossible; or it
            is for another environment.
    """
    where, content = str(path), _given(read_tagged_yaml(path))
    model = content.get("model_cfg", {})
    name = changed(FqssSettings(), {"model_cfg": model}, where).model_cfg.name
    own = system_of(name, where).environment
    if environment and environment != own:
        ENVIRONMENTS[environment]
        raise UsageError(f"{where}: {name} is trained in the environment {own}: give -env {own}")
    defaults = replace(FqssSettings(), training_cfg=ENVIRONMENTS[own].training)
    found: FqssSettings = changed(defaults, with_sections(content, own, where), where)
    chosen = chosen_network(found.model_cfg, where)
    _check(found, chosen, where)
    return found, chosen


def _given(value: Any) -> Any:
    """Without keys that have no value."""
    if isinstance(value, dict):
        return {key: _given(inner) for key, inner in value.items() if inner is not None}
    return value


def _check(found: FqssSettings, chosen: Chosen, where: str) -> None:
    model, data, training, testing = found.model_cfg, found.dataset_cfg, found.training_cfg, found.testing_cfg
    if not found.work_dir:
        raise UsageError(f"{where}: work_dir is missing: give a folder for the results")
    above_0(f"{where}, training_cfg", {key: getattr(training, key) for key in ("epochs", "batch_size", "patience")})
    above_0(f"{where}, training_cfg, optim", {"lr": training.optim.lr})
    above_0(f"{where}, dataset_cfg", {"segment": data.segment, "resample": data.resample})
    at_least_0(f"{where}, training_cfg", {key: getattr(training, key) for key in ("num_workers", "seed", "hold")})
    numbers = ("sample_rate", "n_src", "segment_samples", "data_stride", "train", "valid", "test")
    at_least_0(f"{where}, dataset_cfg", {key: getattr(data, key) for key in numbers})
    at_least_0(f"{where}, model_cfg", {key: getattr(model, key) for key in ("n_src", "kernel_size", "stride")})
    shares(f"{where}, training_cfg", {"kd_lambda": training.kd_lambda})
    shares(f"{where}, dataset_cfg, augmentation", {"prob": data.augmentation.prob})
    at_least_0(f"{where}, testing_cfg", {"segment_samples": testing.segment_samples})
    if not 0 < testing.overlap <= 0.5:
        raise UsageError(f"{where}, testing_cfg: overlap must be above 0 and up to 0.5, found {testing.overlap}")
    if training.optim.optimizer not in _OPTIMIZERS:
        raise UsageError(f"{where}: training_cfg, optim: {training.optim.optimizer!r} is not adam, adamw or sgd")
    if training.wandb:
        raise UsageError(f"{where}: training_cfg, wandb must be False: what is recorded is in work_dir")
    if data.augmentation.distribution != "uniform":
        raise UsageError(
            f"{where}: dataset_cfg, augmentation: the distribution {data.augmentation.distribution!r} is not uniform"
        )
    sources = len(chosen.kind.sources)
    if data.n_src and data.n_src != sources:
        raise UsageError(
            f"{where}: dataset_cfg, n_src is {data.n_src}, and the network of model_cfg separates {sources}"
        )
    rate = round(data.sample_rate * data.resample)
    if data.sample_rate and rate != chosen.kind.rate:
        raise UsageError(
            f"{where}: dataset_cfg, sample_rate times resample is {rate} Hz, and {model.name} is for "
            f"{chosen.kind.rate} Hz"
        )
