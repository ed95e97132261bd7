"""The transforms of ``transforms``, block by block: a signal that comes as it is recorded.

A block is as long as a hop. What comes out is ``delay`` samples behind what went in: half a window, as the next frame
but one begins there, and what is missing to whole hops.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

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
        self._last = torch.zeros(transform.window // 2 + self._missing * transform.hop)

    def push(self, block: Tensor) -> Tensor | None:
        """(1, 1, bins) complex64: the next frame's spectrum; None where its samples are not there yet.

        Args:
            block: (hop,) float32, the next samples.

        Raises:
            DataError: they are more or fewer.
        """
        transform = self.transform
        if block.shape != (transform.hop,):
            raise DataError(f"expected a block of {transform.hop} samples, found one of shape {tuple(block.shape)}")
        self._last = torch.cat([self._last[transform.hop :], block])
        self._missing = max(0, self._missing - 1)
        if self._missing:
            return None
        frame = self._last[: transform.window] * transform.analysis
        around = (transform.fft - transform.window) // 2
        return torch.fft.rfft(functional.pad(frame, (around, around)))[None, None]


class WaveStream:
    """The samples of a stream.

    Args:
        transform: how frames were made.
    """

    def __init__(self, transform: Transform) -> None:
        self.transform = transform
        self._open, self._overlap = torch.zeros(transform.window), torch.zeros(transform.window)
        self._before = transform.window // 2

    def push(self, spectrum: Tensor | None) -> Tensor:
        """(hop,) float32: the samples that no later frame adds to; zeros before the signal, and without a frame.

        Args:
            spectrum: (1, 1, bins) of the next frame, as ``SpectrumStream`` gives it.
        """
        transform, hop = self.transform, self.transform.hop
        if spectrum is None:
            return torch.zeros(hop)
        around = (transform.fft - transform.window) // 2
        frame = torch.fft.irfft(spectrum[0, 0], transform.fft)[around : around + transform.window]
        self._open += frame * transform.synthesis
        self._overlap += transform.analysis * transform.synthesis
        done = self._open[:hop] / self._overlap[:hop].clamp_min(LEAST_OVERLAP)
        self._open, self._overlap = (functional.pad(values[hop:], (0, hop)) for values in (self._open, self._overlap))
        if self._before:
            done[: self._before] = 0
            self._before = max(0, self._before - hop)
        return done
