"""Short-time Fourier transforms with exact synthesis, of whole signals and block by block.

Before a signal goes silence, and behind it, so that each of its samples lies in as many frames as any other: what comes
back is as long as what went in, and the same where nothing was changed in between. A stream gives the same frames and
the same samples, each ``Stft.delay`` samples later.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kaldi_quant.errors import DataError, UsageError

#: In numbers of samples.
Samples = int
#: One value for each sample, or for each bin of each frame.
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Stft:
    """Frames under the square root of a Hann window, once in analysis and once in synthesis.

    The window of synthesis is the one that gives the signal back exactly (D. Griffin and J. Lim, "Signal estimation
    from modified short-time Fourier transform", 1984).

    Args:
        window: samples of a frame.
        hop: samples from one frame to the next.
        fft: points of the transform, ``window`` or more.
        periodic: whether the window is one period of a cosine, as ``scipy.signal.windows.hann(sym=False)``; else it is
            symmetric, as ``numpy.hanning``.

    Raises:
        UsageError: the sizes do not fit each other.
    """

    window: Samples
    hop: Samples
    fft: Samples
    periodic: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.hop <= self.window <= self.fft or self.window < 2 or not (self._overlap > 1e-8).all():
            raise UsageError(
                f"frames of {self.window} samples every {self.hop} ones, transforms of {self.fft} points: expected "
                "frames that overlap, and transforms that are no shorter"
            )

    @property
    def bins(self) -> int:
        """Values of a frame's spectrum."""
        return self.fft // 2 + 1

    @property
    def delay(self) -> Samples:
        """By how much a stream's output lies behind its input."""
        return self.window - self.hop

    def count(self, samples: Samples) -> int:
        """Frames of a signal."""
        return -(-(samples + self.delay) // self.hop)

    @cached_property
    def analysis(self) -> Array:
        """(window,) float64, by which a frame is multiplied before its transform."""
        period = self.window if self.periodic else self.window - 1
        # Rounding may leave the last value of a symmetric window below zero.
        return np.sqrt(np.maximum(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / period), 0))

    @cached_property
    def _overlap(self) -> Array:
        """(hop,) float64: the sum of squared windows that meet at each place."""
        return np.array([np.sum(self.analysis[place :: self.hop] ** 2) for place in range(self.hop)])

    @cached_property
    def synthesis(self) -> Array:
        """(window,) float64, by which a frame is multiplied before frames are added up."""
        return self.analysis / np.resize(self._overlap, self.window)

    def spectrum(self, signal: Array) -> Array:
        """(frames, bins) complex128 of a signal, (samples,).

        Raises:
            DataError: it is no signal of one channel.
        """
        if signal.ndim != 1 or not signal.size:
            raise DataError(f"expected a signal of one channel that is not empty, found an array of {signal.shape}")
        frames = self.count(len(signal))
        padded = np.zeros((frames - 1) * self.hop + self.window)
        padded[self.delay : self.delay + len(signal)] = signal
        return self.spectrum_of_frames(np.lib.stride_tricks.sliding_window_view(padded, self.window)[:: self.hop])

    def spectrum_of_frames(self, frames: Array) -> Array:
        """(frames, bins) complex128 of frames, (frames, window)."""
        return np.fft.rfft(frames * self.analysis, self.fft, axis=-1)

    def frames_of_spectrum(self, spectrum: Array) -> Array:
        """(frames, window) float64, to be added up, of spectra, (frames, bins)."""
        return np.fft.irfft(spectrum, self.fft, axis=-1)[..., : self.window] * self.synthesis

    def signal(self, spectrum: Array, samples: Samples) -> Array:
        """(samples,) float64 of spectra, (frames, bins), as ``spectrum`` gives for a signal of so many samples.

        Raises:
            DataError: there are more or fewer frames.
        """
        if spectrum.shape != (self.count(samples), self.bins):
            expected = (self.count(samples), self.bins)
            raise DataError(f"a signal of {samples} samples has a spectrum of {expected}, found {spectrum.shape}")
        frames = self.frames_of_spectrum(spectrum)
        added = np.zeros((len(frames) - 1) * self.hop + self.window)
        for place, frame in enumerate(frames):
            added[place * self.hop : place * self.hop + self.window] += frame
        return added[self.delay : self.delay + samples]


class Analysis:
    """Spectra of a stream.

    Args:
        stft: how frames are made.
    """

    def __init__(self, stft: Stft) -> None:
        self.stft, self._last = stft, np.zeros(stft.window)

    def push(self, block: Array) -> Array:
        """(1, bins): the spectrum of the frame that ends with the next samples, (hop,)."""
        self._last = np.concatenate([self._last[self.stft.hop :], block])
        return self.stft.spectrum_of_frames(self._last[None])


class Synthesis:
    """The samples of a stream.

    Args:
        stft: how frames were made.
    """

    def __init__(self, stft: Stft) -> None:
        self.stft, self._open = stft, np.zeros(stft.window)

    def push(self, spectrum: Array) -> Array:
        """(hop,): the samples that no later frame adds to, after the next frame's spectrum, (1, bins)."""
        self._open += self.stft.frames_of_spectrum(spectrum)[0]
        done, rest = self._open[: self.stft.hop], self._open[self.stft.hop :]
        self._open = np.concatenate([rest, np.zeros(self.stft.hop)])
        return done
