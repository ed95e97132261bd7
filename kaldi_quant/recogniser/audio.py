"""Recordings of any kind and rate, for a recogniser."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kaldi_quant.errors import DataError, MissingDependencyError

_FULL_SCALE = np.float32(32768)


def read_recording(path: Path) -> tuple[np.ndarray, float]:
    """Reads the first channel of a recording.

    Args:
        path: of a file of any kind that libsndfile reads.

    Returns:
        (samples,) float32 in the scale of 16-bit integers, and the rate in Hz.

    Raises:
        DataError: it is missing, no audio, or has values that are not finite.
        MissingDependencyError: the package soundfile is not installed.
    """
    try:
        import soundfile
    except ImportError as error:
        raise MissingDependencyError("audio files are read by the package soundfile: pip install soundfile") from error
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, OSError) as error:
        raise DataError(f"{path} is no audio that can be read: {' '.join(str(error).split())}") from error
    if not np.isfinite(samples).all():
        raise DataError(f"{path} holds samples that are not finite (NaN or infinity)")
    return samples[:, 0] * _FULL_SCALE, float(rate)
