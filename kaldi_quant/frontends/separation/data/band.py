"""Songs of the band that plays from seeds: those of training in one set of ranges, those of the test in another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kaldi_quant.frontends.items import check_index
from kaldi_quant.frontends.separation.data.layouts import BAND, LAYOUTS, Layout
from kaldi_quant.frontends.separation.data.mixtures import Mixture, SeparationSet
from kaldi_quant.frontends.separation.data.normalization import statistics
from kaldi_quant.frontends.separation.data.options import ReadOptions
from kaldi_quant.frontends.separation.networks.known import STEMS, Kind
from kaldi_quant.frontends.separation.synthetic.band import played
from kaldi_quant.frontends.separation.synthetic.bands import BANDS, HEARD, UNHEARD
from kaldi_quant.units import Hertz, Seconds

# What is played alike has the same digest; to be raised where songs become others.
_VERSION = 1
# Songs of training, of development and of the test, and how long they are.
_TRAIN, _DEV, _TEST = 48, 8, 16
_TRAIN_SECONDS: Seconds = 8.0
_SECONDS: Seconds = 6.0
_CHANNELS = 2
# Songs have numbers from these on, so that no two splits have one in common.
_APART = 1_000_000
_FIRST = {"train": 0, "dev": _APART, "test": 2 * _APART}
# So much is kept in memory; what is beyond is played again.
_KEPT_BYTES = 1 << 30


class Songs:
    """``Mixtures``, and a ``TrainingSource``.

    Args:
        band: a name of ``BANDS``.
        first: the number of the first song.
        length: songs.
        seconds: of each.
        rate: in Hz.
        renew: songs are others after so many passes; 0 for never.
    """

    def __init__(self, band: str, first: int, length: int, seconds: Seconds, rate: Hertz, renew: int = 0) -> None:
        self.band, self.first, self.length, self.seconds, self.rate = band, first, length, seconds, rate
        self.renew = renew
        self._kept: dict[int, tuple[int, Mixture]] = {}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Mixture:
        return self.item(index, 0)

    def item(self, index: int, number_of_pass: int) -> Mixture:
        """As of ``TrainingSource``."""
        index = check_index(index, len(self))
        number = index + (number_of_pass // self.renew * self.length % _APART if self.renew else 0)
        known = self._kept.get(index)
        if known is not None and known[0] == number:
            return known[1]
        stems = played(self.band, self.first + number, self.seconds, self.rate)
        mixture = stems.sum(axis=0)
        mean, deviation = (np.float32(value) for value in statistics(mixture))
        song = Mixture(f"{self.band}{number:03d}", (mixture - mean) / deviation, (stems - mean) / deviation)
        if index in self._kept or (len(self._kept) + 1) * (song.mixture.nbytes + song.sources.nbytes) <= _KEPT_BYTES:
            self._kept[index] = number, song
        return song

    def __iter__(self) -> Iterator[Mixture]:
        return (self[index] for index in range(len(self)))

    def digest(self) -> str:
        """As of ``Mixtures``."""
        about = (_VERSION, BANDS[self.band], self.first, self.length, self.seconds, self.rate, self.renew)
        return hashlib.sha256(repr(about).encode()).hexdigest()


def _read(folder: Path, kind: Kind, options: ReadOptions) -> SeparationSet:
    rate = options.rate or kind.rate
    counts = options.train or _TRAIN, options.dev or _DEV, options.test or _TEST
    train = Songs(HEARD, _FIRST["train"], counts[0], max(options.seconds, _TRAIN_SECONDS), rate, options.renew)
    dev = Songs(HEARD, _FIRST["dev"], counts[1], _SECONDS, rate)
    return SeparationSet(
        BAND, rate, STEMS, _CHANNELS, train, dev, Songs(UNHEARD, _FIRST["test"], counts[2], _SECONDS, rate), True
    )


LAYOUTS.add(BAND)(Layout(f"no folder, but the word {BAND!r}", lambda folder, options: False, _read, is_music=True))
