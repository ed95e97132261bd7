"""WAV files of 16 bits."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile

from kaldi_quant.atomic import atomic_write
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.units import Hertz


def write_wav(path: Path, wave: Array, rate: Hertz) -> None:
    """Writes a recording (n,) in ±1; what is beyond is cut off.

    Raises:
        DataError: the folder cannot be written.
    """
    stream = io.BytesIO()
    soundfile.write(stream, np.clip(wave, -1, 1), rate, format="WAV", subtype="PCM_16")
    with atomic_write(path) as file:
        file.write(stream.getvalue())


def peak_normalized(wave: Array) -> Array:
    """(n,) with its loudest sample at full scale; silence stays silence."""
    peak = float(np.abs(wave).max(initial=0.0))
    return wave / peak if peak else wave
