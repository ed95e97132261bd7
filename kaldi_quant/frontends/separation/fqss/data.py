"""The data of FQSS's settings: LibriMix, MUSDB18-HQ, or any layout that this project reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.data import Mixture, ReadOptions, SeparationSet, open_separation_data
from kaldi_quant.frontends.separation.fqss.settings import DEFAULT, DatasetCfg, FqssSettings
from kaldi_quant.frontends.separation.fqss.systems import ENVIRONMENTS, Chosen
from kaldi_quant.frontends.separation.training.config import TrainingConfig
from kaldi_quant.frontends.separation.training.training import spare

#: FQSS's names of data sets; LibriMix with a ``data_folder`` has SpeechBrain's tables.
LIBRIMIX, MUSDB = "librimix", "musdbhq"
_SPEECHBRAIN, _MUSDB_LAYOUT = "speechbrain", "musdb"
_METADATA = "musdb.json"
_MUSIC_TASK = "mus_sep"
# Of pieces of training, which are not read for a test.
_ANY_LENGTH = 0.01
# Of a long track of development data so many pieces are looked at.
_MOST_PIECES = 8


def augmentations_of(data: DatasetCfg, chosen: Chosen) -> dict[str, Any]:
    """What changes pieces of training: names of ``AUGMENTATIONS`` and their options."""
    found = dict(data.augment)
    if DEFAULT in found:
        del found[DEFAULT]
        found = {**ENVIRONMENTS[chosen.system.environment].augment, **found}
    if found.get("shift") == {} and data.data_stride:
        found["shift"] = {"samples": data.data_stride}
    if data.augmentation.enable:
        low, high = data.augmentation.param0, data.augmentation.param1
        found["snr"] = {"low": low, "high": high, "share": data.augmentation.prob}
    return found


def read_training(settings: FqssSettings, chosen: Chosen, config: TrainingConfig) -> SeparationSet:
    """Training and development data.

    Args:
        settings: of a file.
        chosen: the network.
        config: what they say of training.

    Raises:
        UsageError: the settings do not name them.
        DataError: they are missing or broken.
    """
    data, rate = settings.dataset_cfg, chosen.kind.rate
    more: dict[str, Any] = {
        "seconds": config.seconds,
        "spare": spare(config, rate),
        "train": data.train,
        "dev": data.valid,
        "seed": settings.training_cfg.seed,
    }
    if data.name == LIBRIMIX and data.data_folder:
        return _opened(settings, chosen, data.data_folder, _SPEECHBRAIN, **more)
    where = data.train_dir or data.data_folder
    if not where:
        raise UsageError("dataset_cfg has neither train_dir nor data_folder: give the folder of the training data")
    if data.name == LIBRIMIX:
        more |= {"train_dir": where, "valid_dir": data.valid_dir or where}
        return _opened(settings, chosen, ".", LIBRIMIX, **more)
    return _opened(settings, chosen, where, data.name, stride=data.data_stride / rate, **more)


def read_test(settings: FqssSettings, chosen: Chosen) -> SeparationSet:
    """Test data.

    Raises:
        UsageError: the settings do not name them.
        DataError: they are missing or broken.
    """
    data, where = settings.dataset_cfg, settings.testing_cfg.test_dir
    if not where:
        raise UsageError("testing_cfg has no test_dir: give the folder of the test data")
    more: dict[str, Any] = {"test": data.test, "seconds": _ANY_LENGTH}
    if data.name == LIBRIMIX:
        return _opened(settings, chosen, ".", LIBRIMIX, test_dir=where, **more)
    return _opened(settings, chosen, where, data.name, **more)


def _opened(settings: FqssSettings, chosen: Chosen, where: str, layout: str, **more: Any) -> SeparationSet:
    data, kind = settings.dataset_cfg, chosen.kind
    task = "sep_noisy" if data.noisy and "test_dir" in more and data.task == "sep_clean" else data.task
    if kind.is_ordered or task == _MUSIC_TASK:
        task = ReadOptions().task
    work = Path(settings.work_dir).absolute()
    metadata = data.metadata if Path(data.metadata).is_file() else str(work / _METADATA)
    options = ReadOptions(
        task=task,
        rate=kind.rate,
        speakers=min(len(kind.sources), 3),
        save_folder=str(work / "save"),
        metadata=str(Path(metadata).absolute()),
        **more,
    )
    return open_separation_data(where, kind, _MUSDB_LAYOUT if layout == MUSDB else layout, options)


def pieces(mixtures: Iterator[Mixture], samples: int) -> Iterator[Mixture]:
    """Mixtures that are no longer than pieces of training; of long ones some pieces, evenly chosen."""
    for one in mixtures:
        if one.samples <= 2 * samples:
            yield one
            continue
        count = min(one.samples // samples, _MOST_PIECES)
        for place, begin in enumerate(np.linspace(0, one.samples - samples, count).round().astype(int).tolist()):
            part = slice(begin, begin + samples)
            yield Mixture(f"{one.name}-{place}", one.mixture[:, part], one.sources[:, :, part])
