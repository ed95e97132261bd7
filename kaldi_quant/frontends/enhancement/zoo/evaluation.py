"""Scores of a mask network on pairs of noisy and clean speech, as files: the means, and a line for each clip."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.frontends.enhancement.data import Pairs
from kaldi_quant.frontends.enhancement.zoo.config import ZooConfig
from kaldi_quant.frontends.enhancement.zoo.front import MaskFunction, ZooFront
from kaldi_quant.frontends.enhancement.zoo.mask_file import MaskFile
from kaldi_quant.frontends.enhancement.zoo.measures import MEASURES, measured
from kaldi_quant.frontends.enhancement.zoo.windows import Windowed, lookahead_of
from kaldi_quant.units import Frames, Hertz

_log = logging.getLogger(__name__)
METRICS_NAME, DETAILS_NAME = "metrics_dict.json", "detailed_metrics.csv"


@dataclass(frozen=True)
class Evaluated:
    """Scores of a set.

    Args:
        per_clip: clip → score → value.
    """

    per_clip: Mapping[str, Mapping[str, float]]

    @property
    def means(self) -> dict[str, float]:
        """Score → its mean over clips."""
        return {name: float(np.mean([clip[name] for clip in self.per_clip.values()])) for name in MEASURES}

    def __str__(self) -> str:
        """``pesq 2.480, stoi 0.9310, snr 18.19 …``."""
        return ", ".join(f"{name} {value:.4g}" for name, value in self.means.items())

    def write(self, folder: Path) -> None:
        """Writes ``metrics_dict.json`` and ``detailed_metrics.csv``.

        Raises:
            DataError: the folder cannot be written.
        """
        with atomic_write(folder / METRICS_NAME, "w") as stream:
            stream.write(json.dumps(self.means, indent=4) + "\n")
        with atomic_write(folder / DETAILS_NAME, "w") as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(["name", *MEASURES])
            table.writerows([name, *clip.values()] for name, clip in self.per_clip.items())


def evaluate(mask: MaskFunction, front: ZooFront, pairs: Pairs, rate: Hertz) -> Evaluated:
    """Scores what a network makes of noisy speech.

    Args:
        mask: of magnitudes (1, bins, T), any T.
        front: what stands around it.
        pairs: noisy and clean, as the front has them.
        rate: of both.

    Raises:
        DataError: there are no pairs.
        ModelError: the network cannot be run.
        MissingDependencyError: a package that scores need is not installed.
    """
    if not len(pairs):
        raise DataError("there are no pairs to evaluate on: see dataset.num_test_samples and the test folders")
    found = {}
    for place in range(len(pairs)):
        pair = pairs[place]
        found[pair.name] = measured(pair.clean, front.enhance_wave(mask, pair.noisy), rate)
    return Evaluated(found)


def mask_of_file(file: MaskFile, config: ZooConfig, frames: Frames | None = None) -> MaskFunction:
    """The mask of any number of frames that a file gives.

    Args:
        file: of the network.
        config: of the run.
        frames: ``evaluation.fixed_sequence_length``.

    Raises:
        UsageError: the network is for another number of frames.
    """
    if frames is not None and file.frames not in (None, frames):
        raise UsageError(f"evaluation.fixed_sequence_length is {frames}, but {file.path} is for {file.frames} frames")
    return in_windows(file.mask, config, file.frames or frames)


def in_windows(mask: MaskFunction, config: ZooConfig, frames: Frames | None) -> MaskFunction:
    """A mask that is called with a fixed number of frames, where there is one."""
    if frames is None:
        return mask
    deployment = config.deployment
    lookahead = lookahead_of(frames, deployment.frames_per_patch, deployment.lookahead_frames)
    found = Windowed(mask, frames, lookahead)
    _log.info("in windows of %d frames: patches of %d, %d beside them on each side", frames, found.patch, lookahead)
    return found


def compared(results: Mapping[str, Evaluated]) -> Sequence[str]:
    """A table: a line for each network, its means."""
    width = max(map(len, results))
    lines = [f"{'':{width}} {' '.join(f'{name:>9}' for name in MEASURES)}"]
    for name, result in results.items():
        lines.append(f"{name:{width}} {' '.join(f'{value:9.4g}' for value in result.means.values())}")
    return lines
