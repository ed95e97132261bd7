"""A folder like LibriMix's, of tones, and settings of a network that is as small as it can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import yaml

from kaldi_quant.frontends.signals.wave_files import write_wav
from tests.frontends.separation.toy import mixture

RATE = 16000
SIZES = {"filters": 8, "bottleneck": 4, "hidden": 8, "blocks": 2, "repeats": 1}


def write_split(folder: Path, split: str, count: int, seconds: float = 0.5) -> Path:
    """Mixtures of a split, with its table; returns the folder of both."""
    place = folder / split
    lines = ["mixture_ID,mixture_path,source_1_path,source_2_path,length"]
    for number in range(count):
        one = mixture(crc32(split.encode()) % 1000 + number, round(seconds * RATE))
        name = f"m{number}"
        paths = [place / part / f"{name}.wav" for part in ("mix_clean", "s1", "s2")]
        for path, wave in zip(paths, (one.mixture[0], *one.sources[:, 0]), strict=True):
            write_wav(path, wave.astype(np.float32), RATE)
        lines.append(",".join([name, *map(str, paths), str(one.samples)]))
    (place / f"mixture_{split}_mix_clean.csv").write_text("\n".join(lines) + "\n")
    return place


def settings(folder: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """Settings of float training on splits below a folder; sections: what is changed."""
    found: dict[str, Any] = {
        "work_dir": str(folder / "work"),
        "model_cfg": {
            "name": "conv-tasnet-small",
            "n_src": 2,
            "kernel_size": 16,
            "stride": 8,
            "sizes": SIZES,
            "model_path": str(folder / "work/best_model.pth"),
        },
        "dataset_cfg": {
            "name": "librimix",
            "task": "sep_clean",
            "train_dir": str(folder / "train"),
            "valid_dir": str(folder / "dev"),
            "sample_rate": RATE,
            "resample": 0.5,
            "n_src": 2,
            "segment": 0.3,
        },
        "training_cfg": {"epochs": 2, "batch_size": 2, "optim": {"optimizer": "adam", "lr": 0.01}},
        "testing_cfg": {"test_dir": str(folder / "test"), "overlap": 0.25},
    }
    for name, changes in sections.items():
        found[name] = {**found[name], **changes} if isinstance(changes, dict) else changes
    return found


def write(path: Path, content: dict[str, Any]) -> Path:
    """A YAML file."""
    path.write_text(yaml.safe_dump(content))
    return path
