"""The transforms of ``transforms``, block by block: a signal that comes as it is recorded.

A block is as long as a hop. What comes out is ``delay`` samples behind what went in: half a window, as the next frame
but one begins there, and what is missing to whole hops.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.signals.transforms import LEAST_OVERLAP, Samples, Transform


def delay_of(transform: Transform) -> Samples:
    """By how much a stream's output lies behind its input."""
    return transform.window // 2 + (_ahead(transform) - 1) * transform.hop


def _ahead(transform: Transform) -> int:
    """How many hops a frame reaches beyond its middle, rounded up."""
    return -(-(transform.window // 2) // transform.hop)


class SpectrumStream:
    """Spectra of a stream.

    Args:
        transform: how frames are made.
    """

    def __init__(self, transform: Transform) -> None:
        self.transform = transform
        self._missing = _ahead(transform)
        self._last = np.zeros(transform.window // 2 + self._missing * transform.hop, np.float32)
        self._frame, self._middle = _empty_frame(transform)
        self._analysis = transform.analysis.numpy()

    def push(self, block: Tensor) -> Tensor | None:
        """(1, 1, bins) complex64: the next frame's spectrum; None where its samples are not there yet.

        Args:
            block: (hop,) float32, the next samples.

        Raises:
            DataError: they are more or fewer.
        """
        hop = self.transform.hop
        if block.shape != (hop,):
            raise DataError(f"expected a block of {hop} samples, found one of shape {tuple(block.shape)}")
        self._last[:-hop] = self._last[hop:]
        self._last[-hop:] = block.numpy()
        self._missing = max(0, self._missing - 1)
        if self._missing:
            return None
        np.multiply(self._last[: self.transform.window], self._analysis, out=self._frame[self._middle])
        return torch.from_numpy(np.fft.rfft(self._frame).astype(np.complex64, copy=False)[None, None])


class WaveStream:
    """The samples of a stream.

    Args:
        transform: how frames were made.
    """

    def __init__(self, transform: Transform) -> None:
        self.transform = transform
        self._open, self._overlap = (np.zeros(transform.window, np.float32) for _ in range(2))
        self._middle = _empty_frame(transform)[1]
        self._synthesis = transform.synthesis.numpy()
        self._both = (transform.analysis * transform.synthesis).numpy()
        self._before = transform.window // 2

    def push(self, spectrum: Tensor | None) -> Tensor:
        """(hop,) float32: the samples that no later frame adds to; zeros before the signal, and without a frame.

        Args:
            spectrum: (1, 1, bins) of the next frame, as ``SpectrumStream`` gives it.
        """
        hop = self.transform.hop
        if spectrum is None:
            return torch.zeros(hop)
        frame = np.fft.irfft(spectrum[0, 0].numpy(), self.transform.fft)[self._middle]
        self._open += (frame * self._synthesis).astype(np.float32, copy=False)
        self._overlap += self._both
        done = self._open[:hop] / np.maximum(self._overlap[:hop], np.float32(LEAST_OVERLAP))
        for values in (self._open, self._overlap):
            values[:-hop] = values[hop:]
            values[-hop:] = 0
        if self._before:
            done[: self._before] = 0
            self._before = max(0, self._before - hop)
        return torch.from_numpy(done)


def _empty_frame(transform: Transform) -> tuple[np.ndarray, slice]:
    """(fft,) zeros, and where in it a frame is."""
    around = (transform.fft - transform.window) // 2
    return np.zeros(transform.fft, np.float32), slice(around, around + transform.window)
