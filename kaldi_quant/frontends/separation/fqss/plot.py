"""``waveform.png``: a wave over time, a row for each channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import MissingDependencyError
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.units import Hertz


def plot_waveform(path: Path, wave: Array, rate: Hertz) -> None:
    """Draws a wave.

    Args:
        path: of the file.
        wave: (C, T).
        rate: in Hz.

    Raises:
        DataError: the file cannot be written.
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(f"{path} needs the package matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(8, 2 + 2 * len(wave)), layout="constrained")
    for number, axes in enumerate(np.atleast_1d(figure.subplots(len(wave), 1, sharex=True))):
        axes.plot(np.arange(wave.shape[1]) / rate, wave[number], linewidth=0.5)
        axes.set_ylabel(f"channel {number + 1}" if len(wave) > 1 else "amplitude")
        axes.grid(True)
    axes.set_xlabel("seconds")
    with atomic_write(path) as stream:
        figure.savefig(stream, format="png", dpi=120)
