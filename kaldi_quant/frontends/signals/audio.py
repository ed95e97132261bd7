"""Reads audio of any kind and rate, as soundfile can, and brings it to another rate, as soxr does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kaldi_quant.errors import DataError, MissingDependencyError
from kaldi_quant.units import Hertz

try:
    import soundfile
    import soxr
except ImportError as error:
    raise MissingDependencyError(f"reading audio needs the package {error.name}: pip install soundfile soxr") from error

# Audio that claims a lower rate is none, and would grow beyond bounds when it is resampled.
_LOWEST_RATE = 1000


@dataclass(frozen=True)
class Header:
    """What a file says of its audio.

    Attributes:
        rate: in Hz.
        channels: side by side.
        samples: of each channel.
    """

    rate: Hertz
    channels: int
    samples: int


def read_header(path: Path) -> Header:
    """What a file says of its audio, which is not read.

    Raises:
        DataError: the file is missing or no audio; names it.
    """
    with _opened(path) as stream:
        return Header(stream.samplerate, stream.channels, stream.frames)


def read_audio(path: Path, sample_rate: Hertz, start: int = 0, samples: int | None = None) -> np.ndarray:
    """Reads a recording, or a part of it; several channels become their mean.

    Args:
        path: the file, of any format that libsndfile knows.
        sample_rate: the rate that is wanted, in Hz; audio of another rate is resampled (soxr's quality HQ).
        start: the first sample that is wanted, at the file's own rate.
        samples: how many are wanted, at the file's own rate; None for all that follow.

    Returns:
        (n,) float32, full scale is 1; n may be 0.

    Raises:
        DataError: the file is missing or no audio, does not reach as far as is wanted, or has samples that are not
            finite; names the file.
    """
    return _read(path, sample_rate, lambda stream: [_part(path, stream, start, samples).mean(axis=1)])[0]


def read_channels(path: Path, sample_rate: Hertz, start: int = 0, samples: int | None = None) -> np.ndarray:
    """Reads a recording, or a part of it, with all its channels.

    Args:
        path: as of ``read_audio``, as are the others.
        sample_rate: likewise.
        start: likewise.
        samples: likewise.

    Returns:
        (channels, n) float32.

    Raises:
        DataError: as of ``read_audio``.
    """
    return np.ascontiguousarray(_read(path, sample_rate, lambda stream: [_part(path, stream, start, samples)])[0].T)


def read_parts(path: Path, sample_rate: Hertz, parts: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """Reads several parts of a file, which is decoded once and from its beginning.

    What a lossy codec gives depends, a little, on where decoding began: so it is the same whichever parts are wanted.

    Args:
        path: as of ``read_audio``.
        sample_rate: likewise.
        parts: of each ``start`` and ``samples``.

    Raises:
        DataError: as of ``read_audio``.
    """

    def taken(stream: soundfile.SoundFile) -> list[np.ndarray]:
        for start, samples in parts:
            _check_part(path, stream.frames, start, samples)
        whole = _part(path, stream, 0, max(start + samples for start, samples in parts))
        return [whole[start : start + samples].mean(axis=1) for start, samples in parts]

    return _read(path, sample_rate, taken)


def _read(path: Path, sample_rate: Hertz, taken: Callable[[soundfile.SoundFile], list[np.ndarray]]) -> list[np.ndarray]:
    with _opened(path) as stream:
        rate, found = stream.samplerate, taken(stream)
    if rate < _LOWEST_RATE:
        raise DataError(f"{path} has a sampling frequency of {rate} Hz, expected at least {_LOWEST_RATE}")
    return [resample(part, rate, sample_rate) for part in found]


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    if not path.is_file():
        raise DataError(f"{path} does not exist, or is no file")
    try:
        with soundfile.SoundFile(path) as stream:
            yield stream
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"{path} cannot be read as audio: {' '.join(str(error).split())}") from error


def _part(path: Path, stream: soundfile.SoundFile, start: int, samples: int | None) -> np.ndarray:
    _check_part(path, stream.frames, start, samples)
    stream.seek(start)
    found: np.ndarray = stream.read(-1 if samples is None else samples, dtype="float32", always_2d=True)
    if not np.isfinite(found).all():
        raise DataError(f"{path} has samples that are not finite (NaN or infinity)")
    if samples is not None and len(found) != samples:
        raise DataError(f"{path} is cut off: expected {samples} samples from {start} on, found {len(found)}")
    return found


def resample(wave: np.ndarray, rate: Hertz, new_rate: Hertz) -> np.ndarray:
    """Samples (n,) or (n, channels) at another rate; both rates in Hz. Returns as many · new_rate / rate, float32."""
    if rate == new_rate or len(wave) == 0:
        return wave.astype(np.float32, copy=False)
    return soxr.resample(wave.astype(np.float32, copy=False), rate, new_rate, quality="HQ")


def _check_part(path: Path, length: int, start: int, samples: int | None) -> None:
    end = start if samples is None else start + samples
    if start < 0 or end < start or end > length:
        raise DataError(f"{path} has {length} samples, but those from {start} to {end} are wanted")
