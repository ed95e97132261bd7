"""WAV files of 16 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kaldi_quant.atomic import atomic_write
from kaldi_quant.frontends.signals.encoding import encoded
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.units import Hertz


def write_wav(path: Path, wave: Array, rate: Hertz) -> None:
    """Writes a recording (n,), or (n, channels), in ±1; what is beyond is cut off.

    Raises:
        DataError: the folder cannot be written.
    """
    with atomic_write(path) as file:
        file.write(encoded(wave, rate, "wav"))


def peak_normalized(wave: Array) -> Array:
    """A recording of any shape with its loudest sample at full scale; silence stays silence."""
    peak = float(np.abs(wave).max(initial=0.0))
    return wave / peak if peak else wave
