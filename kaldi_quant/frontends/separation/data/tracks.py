"""Tracks of music: a folder each, with a file of what is heard and one of each stem, and what is known of them."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError
from kaldi_quant.frontends.paired_files import check_alike
from kaldi_quant.frontends.separation.data.mixtures import Mixture, check_mixture
from kaldi_quant.frontends.separation.data.normalization import statistics
from kaldi_quant.frontends.separation.networks.known import STEMS
from kaldi_quant.frontends.signals.audio import Header, read_channels, read_header
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.progress import progress
from kaldi_quant.units import Hertz

MIXTURE = "mixture"
_EXTENSION = ".wav"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrackFacts:
    """What is known of a track, under the names that the public ``musdb.json`` has.

    Attributes:
        length: in samples, at its own rate.
        mean: of what is heard, all channels as one.
        std: its standard deviation.
        samplerate: in Hz.
    """

    length: int
    mean: float
    std: float
    samplerate: Hertz


@dataclass(frozen=True)
class Track:
    """A track.

    Attributes:
        folder: which its name is that of.
    """

    folder: Path

    @property
    def name(self) -> str:
        """Of the track."""
        return self.folder.name

    def path(self, stem: str) -> Path:
        """The file of a stem, or of what is heard."""
        return self.folder / f"{stem}{_EXTENSION}"

    @cached_property
    def header(self) -> Header:
        """What the file of what is heard says of itself."""
        return read_header(self.path(MIXTURE))

    def check(self, channels: int) -> None:
        """Compares what all files say of themselves.

        Raises:
            DataError: one is missing, no audio or empty, or of other channels, or they differ in rate or length.
        """
        paths = [self.path(stem) for stem in (MIXTURE, *STEMS)]
        for path in paths:
            if not path.is_file():
                raise DataError(f"the track {self.folder} lacks {path.name}: expected {MIXTURE}, {', '.join(STEMS)}")
        check_alike(paths, channels)

    def read(self, rate: Hertz, facts: TrackFacts | None = None) -> Mixture:
        """The whole track, as it is normalised.

        Args:
            rate: that is wanted, in Hz.
            facts: its mean and deviation; those of what is read where None.

        Raises:
            DataError: a file cannot be read, or has samples that are not finite.
        """
        heard = read_channels(self.path(MIXTURE), rate)
        about = (facts.mean, facts.std) if facts else statistics(heard)
        return self._normalized(heard, self._stems(rate), *about)

    def segment(self, rate: Hertz, facts: TrackFacts, start: int, samples: int) -> Mixture:
        """A part, as it is normalised; what is heard is the sum of its stems, so that its file is not read.

        Args:
            rate: that is wanted, in Hz.
            facts: mean and deviation of the whole.
            start: the first sample, at the track's own rate.
            samples: how many, at the track's own rate.

        Raises:
            DataError: a file cannot be read, or has samples that are not finite.
        """
        stems = self._stems(rate, start, samples)
        return self._normalized(stems.sum(axis=0), stems, facts.mean, facts.std)

    def _stems(self, rate: Hertz, start: int = 0, samples: int | None = None) -> Array:
        return np.stack([read_channels(self.path(stem), rate, start, samples) for stem in STEMS])

    def _normalized(self, heard: Array, stems: Array, mean: float, deviation: float) -> Mixture:
        mixture, sources = ((wave - np.float32(mean)) / np.float32(deviation) for wave in (heard, stems))
        return check_mixture(Mixture(self.name, mixture, sources))


def tracks_of(folder: Path) -> list[Track]:
    """The tracks of a folder, in the order of names: its folders that have any file of a track."""
    if not folder.is_dir():
        return []
    names = {f"{stem}{_EXTENSION}" for stem in (MIXTURE, *STEMS)}
    there = (path for path in sorted(folder.iterdir()) if path.is_dir())
    return [Track(path) for path in there if any((path / name).exists() for name in names)]


def facts_of(tracks: list[Track], file: Path) -> dict[str, TrackFacts]:
    """What is known of tracks, by name; what a file does not have is found out, and written to it.

    Args:
        tracks: which.
        file: JSON; it may be missing. Where it cannot be written, a warning is logged.

    Raises:
        DataError: the file is no such JSON, or a track cannot be read.
    """
    known = _read_facts(file)
    unknown = [track for track in tracks if not _fits(known.get(track.name), track)]
    if unknown:
        with progress(len(unknown), "measuring", "tracks") as advance:
            for track in unknown:
                known[track.name] = _measured(track)
                advance(1)
        try:
            with atomic_write(file, "w") as stream:
                stream.write(json.dumps({name: asdict(facts) for name, facts in sorted(known.items())}) + "\n")
        except DataError as error:
            _log.warning("%s: tracks will be measured again", error)
    return {track.name: known[track.name] for track in tracks}


def _fits(facts: TrackFacts | None, track: Track) -> bool:
    header = track.header
    return facts is not None and (facts.length, facts.samplerate) == (header.samples, header.rate)


def _measured(track: Track) -> TrackFacts:
    heard = read_channels(track.path(MIXTURE), track.header.rate)
    mean, deviation = statistics(heard)
    return TrackFacts(track.header.samples, mean, deviation, track.header.rate)


def _read_facts(file: Path) -> dict[str, TrackFacts]:
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text("utf-8"))
        return {name: _facts(values) for name, values in content.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{file} does not have length, mean, std and samplerate of tracks by name: {' '.join(str(error).split())}"
        ) from error


def _facts(values: Mapping[str, float]) -> TrackFacts:
    found = TrackFacts(int(values["length"]), float(values["mean"]), float(values["std"]), int(values["samplerate"]))
    if not (math.isfinite(found.mean) and 0 < found.std < math.inf):
        raise ValueError(f"a mean of {found.mean} and a deviation of {found.std}")
    return found
