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
        seconds: of items of training. What is shorter is no part of training.
        speakers: how many speak in a mixture; of ``enh_single`` one.
        train: mixtures of a pass; 0 for as many as there are.
        dev: mixtures of development; 0 for as many as are usual.
        test: mixtures of the test, likewise.
        renew: songs of the band are others after so many passes; 0 for never.
        seed: for all draws.

    Raises:
        UsageError: a value is impossible.
    """

    task: str = "sep_clean"
    rate: Hertz = 0
    seconds: Seconds = 3.0
    speakers: int = 2
    train: int = 0
    dev: int = 0
    test: int = 0
    renew: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        TASKS[self.task]
        above_0("reading", {"seconds": self.seconds})
        if not 1 <= self.speakers <= 3:
            raise UsageError(f"reading: speakers must be from 1 to 3, found {self.speakers}")
        for name in ("rate", "train", "dev", "test", "renew", "seed"):
            at_least_0("reading", {name: getattr(self, name)})

    @property
    def count(self) -> int:
        """Who speak in a mixture."""
        return 1 if TASKS[self.task].is_single else self.speakers

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of sources of speech: s1, s2 and so on."""
        return tuple(f"s{number + 1}" for number in range(1 if TASKS[self.task].is_summed else self.count))
