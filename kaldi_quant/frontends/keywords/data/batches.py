"""Batches of recordings, as networks take them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.bad_utterances import DEFAULT_MAX_BAD_SHARE, BadUtterances
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.frontends.keywords.data.keyword_set import Recording
from kaldi_quant.frontends.signals.audio import read_audio, read_parts
from kaldi_quant.units import Hertz, Seconds

# So much audio is kept in memory; what is beyond is read again on each pass.
_KEPT_BYTES = 1 << 30


@dataclass(frozen=True)
class Batch:
    """Recordings side by side.

    Attributes:
        waves: (B, 1, T) float32, full scale is 1, zeros behind the end of each.
        lengths: (B,) int64, samples of each recording that are in ``waves``.
        labels: (B,) int64, numbers of classes.
        names: those of the recordings.
    """

    waves: Tensor
    lengths: Tensor
    labels: Tensor
    names: tuple[str, ...]


def load_batches(
    recordings: Sequence[Recording],
    *,
    sample_rate: Hertz,
    batch_size: int,
    seconds: Seconds | None = 1.0,
    seed: int | None = None,
    max_bad_share: float = DEFAULT_MAX_BAD_SHARE,
) -> Batches:
    """Batches of recordings, read when they are asked for.

    Args:
        recordings: those of a split.
        sample_rate: of the waves, in Hz; audio of another rate is resampled.
        batch_size: recordings side by side; the last batch may have fewer.
        seconds: how long waves are: shorter ones are padded with zeros, of longer ones the middle is taken. None pads
            to the longest of a batch.
        seed: shuffles, in another way on each pass; None keeps the order.
        max_bad_share: how many recordings may be unusable.

    Raises:
        UsageError: one of the numbers is not positive, or the share is not from 0 to 1.

    Example:
        >>> keywords = read_keywords(Path("egs/keywords/data"))
        >>> batch = next(iter(load_batches(keywords.train, sample_rate=8000, batch_size=64)))
        >>> batch.waves.shape
        torch.Size([64, 1, 8000])
    """
    for what, value in (("sample_rate", sample_rate), ("batch_size", batch_size), ("seconds", seconds)):
        if value is not None and not value > 0:
            raise UsageError(f"{what} must be above 0, found {value:g}")
    return Batches(recordings, sample_rate, batch_size, seconds, seed, max_bad_share)


class Batches:
    """What ``load_batches`` gives. A pass over all recordings is an iteration.

    A recording that cannot be used is named in a warning, once, and left out. Audio is kept in memory from pass to
    pass.

    Attributes:
        passes: how many were begun; it is the place in the sequence of shuffles, and may be set.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        sample_rate: Hertz,
        batch_size: int,
        seconds: Seconds | None,
        seed: int | None,
        max_bad_share: float,
    ) -> None:
        self.recordings = tuple(recordings)
        self.sample_rate = sample_rate
        self.batch_size = batch_size
        self.samples = None if seconds is None else max(1, round(seconds * sample_rate))
        self.seed = seed
        self.passes = 0
        self._bad = BadUtterances(max_bad_share)
        self._kept: dict[str, np.ndarray] = {}
        self._kept_bytes = 0
        self._left_out: set[str] = set()
        self._by_file: dict[Path, list[Recording]] = {}
        for recording in self.recordings:
            self._by_file.setdefault(recording.path, []).append(recording)

    def __len__(self) -> int:
        """How many batches a pass has, as far as it is known which recordings can be used."""
        return math.ceil((len(self.recordings) - len(self._left_out)) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """A pass.

        Raises:
            DataError: there are no recordings, or too many cannot be used, which is known at the pass's end.
        """
        if not self.recordings:
            raise DataError("there are no recordings to make batches of")
        order = self._order()
        self.passes += 1
        waiting: list[tuple[Recording, np.ndarray]] = []
        for recording in order:
            wave = self._wave(recording)
            if wave is not None:
                waiting.append((recording, wave))
            if len(waiting) == self.batch_size:
                yield self._batch(waiting)
                waiting = []
        self._check()
        if waiting:
            yield self._batch(waiting)

    def _order(self) -> list[Recording]:
        if self.seed is None:
            return list(self.recordings)
        random = np.random.default_rng((self.seed, self.passes))
        return [self.recordings[place] for place in random.permutation(len(self.recordings))]

    def _wave(self, recording: Recording) -> np.ndarray | None:
        """(n,) float32; None where it cannot be used."""
        if recording.name in self._left_out:
            return None
        if recording.name in self._kept:
            return self._kept[recording.name]
        self._keep_all_of(recording.path)
        if recording.name in self._kept:
            return self._kept[recording.name]
        try:
            wave = read_audio(recording.path, self.sample_rate, recording.start, recording.samples)
            if len(wave) == 0:
                raise DataError(f"{recording.path} is empty")
        except DataError as error:
            self._left_out.add(recording.name)
            self._bad.report(recording.name, error)
            return None
        if self._kept_bytes + wave.nbytes <= _KEPT_BYTES:
            self._kept[recording.name] = wave
            self._kept_bytes += wave.nbytes
        return wave

    def _keep_all_of(self, path: Path) -> None:
        """Reads all recordings that are parts of a file at once: a lossy codec is slow to go to a place."""
        parts = [(entry, entry.samples) for entry in self._by_file.pop(path, []) if entry.samples is not None]
        if not parts or self._kept_bytes > _KEPT_BYTES:
            return
        beside = [entry for entry, _ in parts]
        try:
            waves = read_parts(path, self.sample_rate, [(entry.start, samples) for entry, samples in parts])
        except DataError:
            # Which of them it is, is told when each is asked for.
            return
        for entry, wave in zip(beside, waves, strict=True):
            if len(wave):
                self._kept[entry.name] = wave
                self._kept_bytes += wave.nbytes

    def _check(self) -> None:
        self._bad.good = len(self.recordings) - self._bad.bad
        self._bad.check()

    def _batch(self, found: list[tuple[Recording, np.ndarray]]) -> Batch:
        longest = self.samples or max(len(wave) for _, wave in found)
        waves = torch.zeros(len(found), 1, longest)
        lengths = torch.zeros(len(found), dtype=torch.int64)
        for place, (_, wave) in enumerate(found):
            begin = max(0, (len(wave) - longest) // 2)
            part = wave[begin : begin + longest]
            waves[place, 0, : len(part)] = torch.from_numpy(part)
            lengths[place] = len(part)
        labels = torch.tensor([recording.label for recording, _ in found])
        return Batch(waves, lengths, labels, tuple(recording.name for recording, _ in found))
