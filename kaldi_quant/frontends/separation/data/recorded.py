"""Ready mixtures: a file of what is heard and one of each source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.digests import update_with_files
from kaldi_quant.frontends.items import check_index
from kaldi_quant.frontends.paired_files import check_alike
from kaldi_quant.frontends.separation.data.mixtures import Mixture, check_mixture
from kaldi_quant.frontends.signals.audio import Header, read_channels
from kaldi_quant.frontends.synthetic.seeds import seeded
from kaldi_quant.units import Hertz, Seconds


@dataclass(frozen=True)
class MixtureFiles:
    """A mixture's files.

    Attributes:
        name: its own.
        mixture: the file of what is heard.
        sources: the file of each source.
        samples: how long they are, at their own rate; None where it is not known.
        is_summed: whether the sum of the sources is the only one that is wanted.
    """

    name: str
    mixture: Path
    sources: tuple[Path, ...]
    samples: int | None = None
    is_summed: bool = False

    @property
    def paths(self) -> tuple[Path, ...]:
        """All."""
        return self.mixture, *self.sources

    def header(self, channels: int) -> Header:
        """What all files say of themselves.

        Raises:
            DataError: one is no audio, is empty or has another number of channels, or they differ from each other, or
                from the length that is known; names the file.
        """
        first = check_alike(self.paths, channels)
        if self.samples not in (None, first.samples):
            raise DataError(f"{self.mixture} has {first.samples} samples, but {self.samples} are listed")
        return first

    def read(self, rate: Hertz, start: int = 0, samples: int | None = None) -> Mixture:
        """A part, at a rate; it begins at ``start`` and has so many ``samples``, both at the files' own rate.

        Raises:
            DataError: a file cannot be read, or has samples that are not finite; names it.
        """
        mixture, *sources = (read_channels(path, rate, start, samples) for path in self.paths)
        stacked = np.stack(sources)
        if self.is_summed:
            stacked = stacked.sum(axis=0, keepdims=True)
        return check_mixture(Mixture(self.name, mixture, stacked))


class _Recorded:
    """Mixtures of files.

    Args:
        files: of each.
        rate: of the waves, in Hz; files of other rates are resampled.
        channels: of each wave.
        seconds: of a part that is read, if it is not the whole.
        seed: of where parts begin.
    """

    def __init__(
        self, files: Sequence[MixtureFiles], rate: Hertz, channels: int, seconds: Seconds | None = None, seed: int = 0
    ) -> None:
        self.files, self.rate, self.channels = tuple(files), rate, channels
        self.seconds, self.seed = seconds, seed
        self._headers: dict[int, Header] = {}

    def __len__(self) -> int:
        return len(self.files)

    def _part(self, index: int, random: np.random.Generator) -> Mixture:
        files = self.files[index]
        if index not in self._headers:
            self._headers[index] = files.header(self.channels)
        header = self._headers[index]
        samples = header.samples if self.seconds is None else min(header.samples, round(self.seconds * header.rate))
        return files.read(self.rate, int(random.integers(header.samples - samples + 1)), samples)

    def digest(self) -> str:
        """As of ``Mixtures``."""
        found = hashlib.sha256(repr((self.rate, self.channels, self.seconds, self.seed)).encode())
        found.update(repr([(files.name, files.is_summed) for files in self.files]).encode())
        update_with_files(found, [path for files in self.files for path in files.paths])
        return found.hexdigest()


class RecordedItems(_Recorded):
    """A ``TrainingSource``: of each mixture a part, on each pass another one."""

    def item(self, index: int, number_of_pass: int) -> Mixture:
        """As of ``TrainingSource``."""
        index = check_index(index, len(self))
        return self._part(index, np.random.default_rng([self.seed, number_of_pass, index]))


class RecordedMixtures(_Recorded):
    """``Mixtures``: of each the whole, or always the same part."""

    def __getitem__(self, index: int) -> Mixture:
        index = check_index(index, len(self))
        return self._part(index, seeded(self.seed, "part", self.files[index].name))

    def __iter__(self) -> Iterator[Mixture]:
        return (self[index] for index in range(len(self)))
