"""Ready pairs: a file of noisy and one of clean speech each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.frontends.digests import update_with_file
from kaldi_quant.frontends.enhancement.data.pairs import Decibels, Pair, check_pair
from kaldi_quant.frontends.items import check_index
from kaldi_quant.frontends.paired_files import check_alike
from kaldi_quant.frontends.signals.audio import read_audio
from kaldi_quant.units import Hertz


@dataclass(frozen=True)
class RecordedPair:
    """A pair's files.

    Attributes:
        name: that both have, without their ending.
        noisy: the file of noisy speech.
        clean: the file of clean speech.
        noise: the kind of noise; empty where it is not known.
        snr: the ratio of speech to noise, in dB; None where it is not known.
        speaker: who speaks; empty where it is not known.
    """

    name: str
    noisy: Path
    clean: Path
    noise: str = ""
    snr: Decibels | None = None
    speaker: str = ""


class RecordedPairs:
    """``Pairs``, and a ``TrainingSource`` whose passes are all alike. Silent speech is allowed.

    Args:
        files: of the pairs.
        rate: of the waves, in Hz; files of other rates are resampled, both of a pair alike.

    Raises:
        DataError: a file is no audio, is empty, or has several channels, or a pair's files differ in rate or length;
            found out by what all files say of themselves.
    """

    def __init__(self, files: Sequence[RecordedPair], rate: Hertz) -> None:
        self.files, self.rate = tuple(files), rate
        for pair in self.files:
            check_alike((pair.noisy, pair.clean), 1)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Pair:
        files = self.files[check_index(index, len(self))]
        noisy, clean = read_audio(files.noisy, self.rate), read_audio(files.clean, self.rate)
        return check_pair(Pair(files.name, noisy, clean, files.noise, files.snr, files.speaker))

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    def item(self, index: int, number_of_pass: int) -> Pair:
        """As of ``TrainingSource``."""
        return self[index]

    def digest(self) -> str:
        """As of ``Pairs``."""
        found = hashlib.sha256(str(self.rate).encode())
        for pair in self.files:
            found.update(repr((pair.name, pair.noise, pair.snr, pair.speaker)).encode())
            for path in (pair.noisy, pair.clean):
                update_with_file(found, path)
        return found.hexdigest()
