"""What of a data set is read, and how mixtures are made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.speech.conditions import CONDITIONS, HEARD
from kaldi_quant.registry import Registry
from kaldi_quant.settings import above_0, at_least_0
from kaldi_quant.units import Hertz, Seconds

#: Decibels.
Decibels = float


@dataclass(frozen=True)
class Task:
    """What is heard, and what is wanted of it (J. Cosentino et al., "LibriMix", 2020).

    Attributes:
        is_noisy: whether there is noise in mixtures.
        is_single: whether one speaks alone.
        is_summed: whether what several say together is one source.
        file: what the name of LibriMix's table has in it.
        folder: of LibriMix's mixtures.
    """

    is_noisy: bool
    is_single: bool
    is_summed: bool
    file: str
    folder: str


TASKS: Registry[Task] = Registry("task")
TASKS.add("sep_clean")(Task(is_noisy=False, is_single=False, is_summed=False, file="clean", folder="mix_clean"))
TASKS.add("sep_noisy")(Task(is_noisy=True, is_single=False, is_summed=False, file="both", folder="mix_both"))
TASKS.add("enh_single")(Task(is_noisy=True, is_single=True, is_summed=False, file="single", folder="mix_single"))
TASKS.add("enh_both")(Task(is_noisy=True, is_single=False, is_summed=True, file="both", folder="mix_both"))


@dataclass(frozen=True)
class MixOptions:
    """How two who speak are mixed.

    Levels are root mean squares of what is no pause, in dB below full scale; their ranges are those that LibriMix has
    for loudness, and so is the peak.

    Args:
        levels: the least and the greatest level of a speaker; all between are drawn alike.
        noise_levels: those of noise.
        peak: which no sample of the mixture goes beyond: what does is made softer as a whole.
        conditions: of ``CONDITIONS``: the ranges that noises are drawn from.
        seconds: of a mixture; it is shorter where one of those who speak says less.
        seed: all else follows from it.

    Raises:
        UsageError: a value is impossible.
    """

    levels: tuple[Decibels, Decibels] = (-33.0, -25.0)
    noise_levels: tuple[Decibels, Decibels] = (-38.0, -30.0)
    peak: float = 0.9
    conditions: str = HEARD
    seconds: Seconds = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        CONDITIONS[self.conditions]
        for name, values in (("levels", self.levels), ("noise_levels", self.noise_levels)):
            if not (len(values) == 2 and -math.inf < values[0] <= values[1] < math.inf):
                raise UsageError(f"{name}: expected the least and the greatest in dB, found {list(values)}")
        above_0("mixing", {"peak": self.peak, "seconds": self.seconds})
        at_least_0("mixing", {"seed": self.seed})


@dataclass(frozen=True)
class ReadOptions:
    """What of a data set is read; a layout takes what it has a use for.

    Args:
        task: of ``TASKS``, for speech.
        rate: of all waves, in Hz; 0 for the network's own. Files of other rates are resampled.
        seconds: of items of training. Of LibriMix, what is shorter is no part of training and development; of MUSDB,
            segments are so long.
        spare: so much more is read of an item of training, where there is more: for what makes pieces shorter.
        speakers: how many speak in a mixture; of ``enh_single`` one.
        train: mixtures of a pass; 0 for as many as there are, or as are usual.
        dev: mixtures of development, likewise.
        test: mixtures of the test, likewise.
        renew: songs of the band are others after so many passes; 0 for never.
        seed: for all draws.
        train_dir: of LibriMix, below the folder or absolute, as are the next two: a folder with tables, or with the
            folders of mixtures and sources. Where all three are empty, they are looked for as LibriMix names them.
        valid_dir: likewise.
        test_dir: likewise.
        save_folder: where speechbrain's tables are, or are written, below the data folder or absolute.
        stride: from one segment of MUSDB to the next, in s; 0 for the length of a segment.
        metadata: the file of lengths, means and deviations of MUSDB's tracks, which is written where it is missing,
            below the folder or absolute.
        validation: the tracks of MUSDB's training that become development, by name; empty for the official ones, or, if
            not all of these are there, for ``validation_share`` of them.
        validation_share: how many.

    Raises:
        UsageError: a value is impossible.
    """

    task: str = "sep_clean"
    rate: Hertz = 0
    seconds: Seconds = 3.0
    spare: Seconds = 0.0
    speakers: int = 2
    train: int = 0
    dev: int = 0
    test: int = 0
    renew: int = 0
    seed: int = 0
    train_dir: str = ""
    valid_dir: str = ""
    test_dir: str = ""
    save_folder: str = ""
    stride: Seconds = 0.0
    metadata: str = "musdb.json"
    validation: tuple[str, ...] = ()
    validation_share: float = 0.14

    def __post_init__(self) -> None:
        TASKS[self.task]
        above_0("reading", {"seconds": self.seconds})
        if not 1 <= self.speakers <= 3:
            raise UsageError(f"reading: speakers must be from 1 to 3, found {self.speakers}")
        for name in ("rate", "spare", "train", "dev", "test", "renew", "seed", "stride"):
            at_least_0("reading", {name: getattr(self, name)})
        if not 0 < self.validation_share < 1:
            raise UsageError(f"validation_share must be above 0 and below 1, found {self.validation_share}")

    @property
    def count(self) -> int:
        """Who speak in a mixture."""
        return 1 if TASKS[self.task].is_single else self.speakers

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of sources of speech: s1, s2 and so on."""
        return tuple(f"s{number + 1}" for number in range(1 if TASKS[self.task].is_summed else self.count))

    @property
    def libri_folders(self) -> tuple[str, str, str]:
        """Of training, development and test."""
        return self.train_dir, self.valid_dir, self.test_dir
