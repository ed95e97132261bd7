"""MUSDB18-HQ: ``{train,test}/<track>/{mixture,drums,bass,other,vocals}.wav``.

Source: Z. Rafii et al., "MUSDB18-HQ: an uncompressed version of MUSDB18", 2019. Tracks are normalised by mean and
standard deviation of what is heard of them. Training has segments, one every stride, whose mixture is the sum of their
stems; development and test have whole tracks.
"""

from __future__ import annotations

import bisect
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.digests import update_with_files
from kaldi_quant.frontends.items import check_index
from kaldi_quant.frontends.separation.data.layouts import LAYOUTS, Layout
from kaldi_quant.frontends.separation.data.mixtures import Mixture, SeparationSet
from kaldi_quant.frontends.separation.data.options import ReadOptions
from kaldi_quant.frontends.separation.data.tracks import MIXTURE, Track, TrackFacts, facts_of, tracks_of
from kaldi_quant.frontends.separation.networks.known import STEMS, Kind
from kaldi_quant.frontends.synthetic.seeds import seeded
from kaldi_quant.units import Hertz, Seconds

NAME = "musdb"
#: The tracks of training that the package musdb has for validation.
VALIDATION = (
    "ANiMAL - Rockshow",
    "Actions - One Minute Smile",
    "Alexander Ross - Goodbye Bolero",
    "Clara Berry And Wooldog - Waltz For My Victims",
    "Fergessen - Nos Palpitants",
    "James May - On The Line",
    "Johnny Lokke - Promises & Lies",
    "Leaf - Summerghost",
    "Meaxic - Take A Step",
    "Patrick Talbot - A Reason To Leave",
    "Skelpolu - Human Mistakes",
    "Traffic Experiment - Sirens",
    "Triviul - Angelsaint",
    "Young Griffo - Pennies",
)


class _Tracks:
    """Tracks.

    Args:
        tracks: which.
        facts: of those of training, by name.
        rate: of the waves, in Hz; files of other rates are resampled.
    """

    def __init__(self, tracks: Sequence[Track], facts: Mapping[str, TrackFacts], rate: Hertz) -> None:
        self.tracks, self.facts, self.rate = tuple(tracks), dict(facts), rate

    def _digest(self, *more: object) -> str:
        found = hashlib.sha256(repr((self.rate, *more)).encode())
        found.update(repr([(track.name, self.facts.get(track.name)) for track in self.tracks]).encode())
        update_with_files(found, [track.path(stem) for track in self.tracks for stem in (MIXTURE, *STEMS)])
        return found.hexdigest()


class WholeTracks(_Tracks):
    """``Mixtures``: tracks from their beginning to their end."""

    def __len__(self) -> int:
        return len(self.tracks)

    def __getitem__(self, index: int) -> Mixture:
        track = self.tracks[check_index(index, len(self))]
        return track.read(self.rate, self.facts.get(track.name))

    def __iter__(self) -> Iterator[Mixture]:
        return (self[index] for index in range(len(self)))

    def digest(self) -> str:
        """As of ``Mixtures``."""
        return self._digest()


class Segments(_Tracks):
    """A ``TrainingSource`` whose passes are all alike: parts of tracks.

    Args:
        tracks: which.
        facts: of each, by name.
        rate: of the waves, in Hz.
        seconds: of a segment; it is shorter at the end of a track.
        stride: from one to the next.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        facts: Mapping[str, TrackFacts],
        rate: Hertz,
        seconds: Seconds,
        stride: Seconds,
    ) -> None:
        super().__init__(tracks, facts, rate)
        self.seconds, self.stride = seconds, stride
        self._ends = list(accumulate(self._count(facts[track.name]) for track in tracks))

    def _count(self, facts: TrackFacts) -> int:
        beyond = facts.length / facts.samplerate - self.seconds
        return 1 if beyond <= 0 else math.ceil(beyond / self.stride) + 1

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def item(self, index: int, number_of_pass: int) -> Mixture:
        """As of ``TrainingSource``."""
        index = check_index(index, len(self))
        place = bisect.bisect_right(self._ends, index)
        track = self.tracks[place]
        facts = self.facts[track.name]
        number = index - (self._ends[place - 1] if place else 0)
        start = min(math.ceil(number * self.stride * facts.samplerate), facts.length - 1)
        samples = min(math.ceil(self.seconds * facts.samplerate), facts.length - start)
        return track.segment(self.rate, facts, start, samples)

    def digest(self) -> str:
        """As of ``TrainingSource``."""
        return self._digest(self.seconds, self.stride)


def _found(folder: Path, options: ReadOptions) -> bool:
    return any(tracks_of(folder / split) for split in ("train", "test"))


def _read(folder: Path, kind: Kind, options: ReadOptions) -> SeparationSet:
    train, test = tracks_of(folder / "train"), tracks_of(folder / "test")
    if not train and not test:
        raise DataError(f"{folder} has no tracks: expected folders train and test, in each of them folders of tracks")
    for track in (*train, *test):
        track.check(kind.channels)
    facts = facts_of(train, folder / options.metadata)
    chosen = _validation(train, options, folder)
    taught = [track for track in train if track.name not in chosen]
    held_out = [track for track in train if track.name in chosen]
    rate, seconds = options.rate or kind.rate, options.seconds + options.spare
    longest = max((facts[track.name].length / facts[track.name].samplerate for track in taught), default=math.inf)
    if longest < options.seconds:
        raise DataError(f"{folder / 'train'}: none of its {len(taught)} tracks is {options.seconds:g} s long or longer")
    segments = Segments(taught[: options.train or None], facts, rate, seconds, options.stride or options.seconds)
    dev, tested = (
        WholeTracks(tracks[: count or None], facts, rate)
        for tracks, count in ((held_out, options.dev), (test, options.test))
    )
    return SeparationSet(NAME, rate, STEMS, kind.channels, segments, dev, tested, is_normalized=True)


def _validation(train: list[Track], options: ReadOptions, folder: Path) -> set[str]:
    """The names of the tracks that become development."""
    names = sorted(track.name for track in train)
    missing = sorted(set(options.validation) - set(names))
    if missing:
        raise DataError(f"{folder / 'train'} lacks the tracks for validation {', '.join(missing)}")
    if options.validation:
        return set(options.validation)
    if set(VALIDATION) <= set(names):
        return set(VALIDATION)
    if len(names) < 2:
        return set()
    count = min(len(names) - 1, max(1, round(options.validation_share * len(names))))
    order = seeded(options.seed, "validation").permutation(len(names))
    return {names[place] for place in order[:count]}


LAYOUTS.add(NAME)(Layout("folders train and test, with folders of tracks", _found, _read, is_music=True))
