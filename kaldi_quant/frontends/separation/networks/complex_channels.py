"""Spectra whose real and imaginary parts are channels, and back: what stands around the branches of HTDemucs.

Frames are those of demucs: so many that a signal of n samples has n / hop, rounded up, as a stack of convolutions with
such a stride has; the highest bin is left out, so that bins are a power of two. Computed in float.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Of values before they are divided by their deviation.
_LEAST_DEVIATION = 1e-5
# Frames at each end of a spectrum that lie beyond the signal.
_BEYOND = 2


class Level(NamedTuple):
    """What was taken from values, and what they were divided by: (N, 1, ...) each, for each recording."""

    mean: Tensor
    deviation: Tensor


class _Frames(nn.Module):
    """Frames of a transform.

    Args:
        nfft: its points; a quarter of them lies between frames.
    """

    window: Tensor

    def __init__(self, nfft: int) -> None:
        super().__init__()
        self.nfft, self.hop = nfft, nfft // 4
        #: Samples at each end of a signal that are its reflection.
        self.around = 3 * self.hop // 2
        self.register_buffer("window", torch.hann_window(nfft), persistent=False)


class Analysis(_Frames):
    """What the branches read of mixtures."""

    def forward(self, mixture: Tensor) -> tuple[Tensor, Tensor, Level, Level]:
        """Spectrum (N, 2 * channels, bins, frames) and wave (N, channels, samples), each of mean 0 and deviation 1.

        Also their levels before that. mixture: (N, channels, samples).
        """
        spectrum = self._spectrum(mixture)
        level, level_of_wave = _level(spectrum), _level(mixture)
        return _at_level(spectrum, level), _at_level(mixture, level_of_wave), level, level_of_wave

    def _spectrum(self, mixture: Tensor) -> Tensor:
        """(N, 2 * channels, bins, frames)."""
        samples = mixture.shape[-1]
        frames = -(-samples // self.hop)
        behind = self.around + frames * self.hop - samples
        padded = mixture
        if samples <= behind:
            # Too short to be reflected; silence comes behind it.
            missing = behind - samples + 1
            padded, behind = functional.pad(padded, (0, missing)), behind - missing
        padded = functional.pad(padded, (self.around, behind), mode="reflect")
        found = torch.stft(
            padded.flatten(0, 1), self.nfft, self.hop, window=self.window, normalized=True, return_complex=True
        )
        found = torch.view_as_real(found[:, :-1, _BEYOND : _BEYOND + frames])
        return found.unflatten(0, (-1, mixture.shape[1])).permute(0, 1, 4, 2, 3).flatten(1, 2)


class Synthesis(_Frames):
    """Signals of what the branches give."""

    def forward(self, spectra: Tensor, waves: Tensor, level: Level, level_of_wave: Level) -> Tensor:
        """(N, sources, channels, samples): what both branches say, added up.

        Args:
            spectra: (N, sources, 2 * channels, bins, frames).
            waves: (N, sources, channels, samples).
            level: of the mixture's spectrum.
            level_of_wave: of the mixture.
        """
        sources, channels, samples = waves.shape[1:]
        parts = _from_level(spectra, level).unflatten(2, (channels, 2)).permute(0, 1, 2, 4, 5, 3)
        whole = functional.pad(torch.view_as_complex(parts.contiguous()).flatten(0, 2), (_BEYOND, _BEYOND, 0, 1))
        length = -(-samples // self.hop) * self.hop + 2 * self.around
        signals = torch.istft(whole, self.nfft, self.hop, window=self.window, normalized=True, length=length)
        signals = signals[:, self.around : self.around + samples].unflatten(0, (-1, sources, channels))
        return _from_level(waves, level_of_wave) + signals


def _level(values: Tensor) -> Level:
    axes = tuple(range(1, values.dim()))
    return Level(values.mean(dim=axes, keepdim=True), values.std(dim=axes, keepdim=True))


def _at_level(values: Tensor, level: Level) -> Tensor:
    return (values - level.mean) / (_LEAST_DEVIATION + level.deviation)


def _from_level(values: Tensor, level: Level) -> Tensor:
    return values * level.deviation.unsqueeze(1) + level.mean.unsqueeze(1)
