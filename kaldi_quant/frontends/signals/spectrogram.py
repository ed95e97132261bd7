"""What recordings look like: levels over time and frequency."""

from __future__ import annotations

from typing import Any

import numpy as np

from kaldi_quant.units import Hertz, Seconds

# As long as a glottal period or two, so that both formants and harmonics of high voices are seen.
_FRAME: Seconds = 0.032
# What is softer than this below full scale is black.
_FLOOR_DB = -90.0


def spectrogram(wave: np.ndarray[Any, Any], rate: Hertz, columns: int = 240, rows: int = 128) -> np.ndarray[Any, Any]:
    """(rows, columns) float32 in dB below a sine of full scale, from -90 to 0; low frequencies are in the last row.

    Args:
        wave: (n,) in ±1.
        rate: in Hz.
        columns: of the picture, whatever the length.
        rows: likewise, from 0 Hz to half the rate.
    """
    frame = round(_FRAME * rate)
    window = np.hanning(frame + 1)[:-1]
    padded = np.concatenate([np.zeros(frame // 2), wave, np.zeros(frame)])
    starts = np.linspace(0, max(len(wave) - 1, 0), columns).astype(int)
    frames = np.lib.stride_tricks.sliding_window_view(padded, frame)[starts] * window
    levels = np.abs(np.fft.rfft(frames, axis=1)) / (window.sum() / 2)
    edges = np.linspace(0, levels.shape[1], rows + 1).astype(int)
    powers = np.add.reduceat(levels**2, edges[:-1], axis=1) / np.diff(edges)
    decibels = 10 * np.log10(np.maximum(powers, 10 ** (_FLOOR_DB / 10)))
    return np.minimum(decibels.T[::-1], 0).astype(np.float32)
