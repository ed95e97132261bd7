"""MBQAT's training data: all speech in one file of raw samples, all noise in another, of which crops are mixed.

Samples are 32-bit floats, little-endian, of one channel. Files are mapped, not read: they may be larger than memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.digests import update_with_file
from kaldi_quant.frontends.enhancement.data.noise_gain import MIXINGS
from kaldi_quant.frontends.enhancement.data.options import MixOptions
from kaldi_quant.frontends.enhancement.data.pairs import Pair
from kaldi_quant.frontends.items import check_index
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.units import Hertz

_SAMPLE = np.dtype("<f4")
# A crop without any sound is drawn again, so often.
_DRAWS = 20


@dataclass(frozen=True)
class RawFile:
    """Raw samples, or a part of them.

    Args:
        path: the file.
        begin: of the part, as a share of the file.
        end: of the part, likewise.

    Raises:
        DataError: there is no such file, or it holds no whole number of samples, or none.
    """

    path: Path
    begin: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise DataError(f"{self.path} does not exist, or is no file: expected raw samples of 32-bit floats")
        size = self.path.stat().st_size
        if size % _SAMPLE.itemsize:
            raise DataError(f"{self.path} is cut off: expected samples of {_SAMPLE.itemsize} bytes, found {size} bytes")
        if not size:
            raise DataError(f"{self.path} is empty")

    def __getstate__(self) -> dict[str, Any]:
        """What goes to other processes: they map the file anew, lest it be copied whole."""
        return {name: value for name, value in self.__dict__.items() if name != "samples"}

    @cached_property
    def samples(self) -> Array:
        """(n,) float32, mapped."""
        whole = np.memmap(self.path, _SAMPLE, "r")
        return whole[round(self.begin * len(whole)) : round(self.end * len(whole))]

    def crop(self, length: int, random: np.random.Generator) -> Array:
        """A part (length,) float32 from a random place on, with any sound.

        Raises:
            DataError: none of many crops has any, or one has samples that are not finite.
        """
        for _ in range(_DRAWS):
            begin = int(random.integers(len(self.samples) - length + 1))
            found = np.array(self.samples[begin : begin + length], np.float32)
            if not np.isfinite(found).all():
                raise DataError(f"{self.path} has samples that are not finite (NaN or infinity), from {begin} on")
            if found.any():
                return found
        raise DataError(f"{self.path} is silence where {_DRAWS} crops of {length} samples were taken")


class Crops:
    """A ``TrainingSource``, and ``Pairs``: crops of speech with crops of noise.

    Args:
        speech: clean.
        noise: of any kind.
        count: crops of a pass.
        length: of a crop, in samples.
        rate: of both, in Hz.
        options: how they are mixed; kinds, conditions and rooms have no use here.

    Raises:
        DataError: a file is shorter than a crop.
    """

    def __init__(
        self, speech: RawFile, noise: RawFile, count: int, length: int, rate: Hertz, options: MixOptions
    ) -> None:
        self.speech, self.noise, self.count, self.length = speech, noise, count, length
        self.rate, self.options = rate, options
        for file in (speech, noise):
            if len(file.samples) < length:
                raise DataError(
                    f"{file.path} is too short: expected {length} samples or more, found {len(file.samples)}"
                )

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, number_of_pass: int) -> Pair:
        """As of ``TrainingSource``."""
        index = check_index(index, len(self))
        random = np.random.default_rng([self.options.seed, number_of_pass, index])
        snr = self.options.draw_snr(random)
        level = self.options.draw_level(random)
        speech, noise = (file.crop(self.length, random) for file in (self.speech, self.noise))
        noisy, gain = MIXINGS[self.options.style](speech, noise, snr, self.rate, level)
        return Pair(f"crop{index}", noisy, speech * np.float32(gain), "", snr)

    def __getitem__(self, index: int) -> Pair:
        return self.item(index, 0)

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    def digest(self) -> str:
        """As of ``TrainingSource``."""
        found = hashlib.sha256(f"{self.options} {self.count} {self.length} {self.rate}".encode())
        for file in (self.speech, self.noise):
            found.update(f"{file.begin} {file.end}".encode())
            update_with_file(found, file.path)
        return found.hexdigest()
