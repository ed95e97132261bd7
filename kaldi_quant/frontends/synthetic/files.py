"""Files of a set: Opus in Ogg, which needs a tenth of what samples need, FLAC, which loses nothing, and tables."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import soundfile

from kaldi_quant.atomic import atomic_write
from kaldi_quant.units import Hertz, Seconds

#: How many samples Opus codes together; a recording that begins at a multiple does not hear the one before it.
FRAME: Seconds = 0.02


def write_opus(path: Path, wave: np.ndarray, rate: Hertz, compression: float) -> None:
    """Writes a wave (n,) in ±1.

    Args:
        path: the file; its folder is made.
        wave: the samples.
        rate: 8000, 12000, 16000, 24000 or 48000 Hz.
        compression: libsndfile's level: 0 for 256 kbit/s, 0.95 for about 16, 1 for 6.
    """
    _write(path, wave, rate, format="OGG", subtype="OPUS", compression_level=compression)


def write_flac(path: Path, samples: np.ndarray, rate: Hertz) -> None:
    """Writes samples (n,) int16, which come back as they are; path and rate (any, in Hz) as of ``write_opus``."""
    _write(path, samples, rate, format="FLAC", subtype="PCM_16", compression_level=1.0)


def _write(path: Path, samples: np.ndarray, rate: Hertz, **coding: object) -> None:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, **coding)
    with atomic_write(path) as file:
        file.write(stream.getvalue())


def write_table(path: Path, columns: tuple[str, ...], rows: Iterable[Mapping[str, object]]) -> None:
    """Writes a table with tabs between columns under a line of their names."""
    with atomic_write(path, "w") as file:
        file.write("\t".join(columns) + "\n")
        for row in rows:
            file.write("\t".join(str(row[column]) for column in columns) + "\n")
