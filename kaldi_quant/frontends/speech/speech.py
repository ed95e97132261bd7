"""Clean speech of a split: read when it is asked for, and kept in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from kaldi_quant.frontends.digests import update_with_file
from kaldi_quant.frontends.signals.audio import read_parts
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.frontends.speech.table import Utterance
from kaldi_quant.units import Hertz

# So much audio is kept in memory; what is beyond is read again.
_KEPT_BYTES = 1 << 30


class Speech(Sequence[Array]):
    """The waves of utterances, (n,) float32 each.

    Args:
        utterances: those of a split.
        rate: of the waves, in Hz; files of other rates are resampled.
    """

    def __init__(self, utterances: Sequence[Utterance], rate: Hertz) -> None:
        self.utterances, self.rate = tuple(utterances), rate
        self._kept: dict[int, Array] = {}
        self._kept_bytes = 0
        self._by_file: dict[Path, list[int]] = {}
        for place, utterance in enumerate(self.utterances):
            self._by_file.setdefault(utterance.path, []).append(place)

    def __len__(self) -> int:
        return len(self.utterances)

    @overload
    def __getitem__(self, index: int) -> Array: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Array]: ...
    def __getitem__(self, index: int | slice) -> Array | Sequence[Array]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        index = range(len(self))[index]
        if index in self._kept:
            return self._kept[index]
        # A lossy codec is slow to go to a place, and what it gives there depends on where decoding began.
        path = self.utterances[index].path
        places = self._by_file[path]
        parts = [(self.utterances[place].start, self.utterances[place].samples) for place in places]
        waves = dict(zip(places, read_parts(path, self.rate, parts), strict=True))
        size = sum(wave.nbytes for wave in waves.values())
        if self._kept_bytes + size <= _KEPT_BYTES:
            self._kept |= waves
            self._kept_bytes += size
        return waves[index]

    def others(self, *speakers: str) -> Sequence[Array]:
        """The speech of all speakers but these; of all where there are no others."""
        places = [place for place, other in enumerate(self.utterances) if other.speaker not in speakers]
        return _Some(self, places or list(range(len(self))))

    def update(self, digest: hashlib._Hash) -> None:
        """Adds the content of all files, and what is read of them."""
        digest.update(repr([(one.name, one.speaker, one.start, one.samples) for one in self.utterances]).encode())
        digest.update(str(self.rate).encode())
        for path in self._by_file:
            update_with_file(digest, path)


class _Some(Sequence[Array]):
    def __init__(self, speech: Speech, places: list[int]) -> None:
        self._speech, self._places = speech, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Array: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Array]: ...
    def __getitem__(self, index: int | slice) -> Array | Sequence[Array]:
        if isinstance(index, slice):
            return [self._speech[place] for place in self._places[index]]
        return self._speech[self._places[index]]
