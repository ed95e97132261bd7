"""The psychoacoustic model: how loud what was added or is missing is, frame by frame, and on the whole."""

from __future__ import annotations

from typing import Any

import numpy as np

from kaldi_quant.metrics.pesq.bands import Bands, bands_of
from kaldi_quant.units import Hertz

Array = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

#: Frames are so long, half overlapping, in seconds.
FRAME = 0.032
# Frames of the reference whose audible power is below this say nothing about the response of a system.
_SILENT = 1e7
# The response and the gain are compensated only within these bounds, and where there is power enough.
_RESPONSES, _RESPONSE_FLOOR = (0.01, 100.0), 1e3
_GAINS, _GAIN_FLOOR = (3e-4, 5.0), 5e3
# So much of the gain of the frame before remains.
_GAIN_MEMORY = 0.2
# Differences that are smaller than this share of the softer of both are masked.
_MASKED = 0.25
# What was added disturbs more than what is missing.
_ASYMMETRY_FLOOR, _ASYMMETRY_POWER, _ASYMMETRIES = 50.0, 1.2, (3.0, 12.0)
# Disturbances in loud frames count a little less.
_LOUD, _LOUD_FLOOR, _LOUD_POWER, _MOST = 1e7, 1e5, 0.04, 45.0
# A syllable's frames, and how far the next one begins behind it.
_SYLLABLE, _STEP = 20, 10
# The samples of a long signal count the more the later they are.
_LONG, _LONG_SLOPE, _LONG_MOST = 1000, 5500.0, 0.5
# Below this sum of five samples' magnitudes a signal has not begun.
_BEGUN, _TOGETHER = 500.0, 5


class Perception:
    """Both signals as they are heard.

    Args:
        reference, degraded: (n,) each at the common level as the listener hears it, with padding.
        rate: 8000 or 16000 Hz.
    """

    def __init__(self, reference: Array, degraded: Array, rate: Hertz) -> None:
        self.bands = bands_of(rate)
        self.frame = round(FRAME * rate)
        self.hop = self.frame // 2
        self.first, last = _heard_frames(reference, self.hop)
        self._all = len(reference) // self.hop - 1
        self.count = last + 1
        powers = self.bands.densities(self.powers(reference))
        self.degraded = self.bands.densities(self.powers(degraded))
        self.reference = powers * _response(self.bands, powers, self.degraded, self._all)
        self.audible = self.bands.audible(self.reference, 1.0)

    def powers(self, signal: Array) -> Array:
        """(T, bins) |X|² of Hann windows, without the mean."""
        starts = np.arange(self.count) * self.hop
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.frame) / self.frame)
        frames = np.lib.stride_tricks.sliding_window_view(signal, self.frame)[starts] * window
        found = np.square(np.abs(np.fft.rfft(frames, axis=1)))
        found[:, 0] = 0.0
        return found

    def disturbances(self, degraded: Array, begin: int = 0, end: int | None = None) -> tuple[Array, Array]:
        """(T,) each: the symmetric and the asymmetric disturbance of frames.

        Args:
            degraded: (T, bands) power densities of what is heard in them.
            begin, end: which frames; by default all.
        """
        chosen = slice(begin, end)
        reference, audible = self.reference[chosen], self.audible[chosen]
        degraded = degraded * _gains(audible, self.bands.audible(degraded, 1.0), begin)[:, None]
        one, other = self.bands.loudness(reference), self.bands.loudness(degraded)
        difference = other - one
        heard = np.sign(difference) * np.maximum(np.abs(difference) - _MASKED * np.minimum(one, other), 0.0)
        ratio = ((degraded + _ASYMMETRY_FLOOR) / (reference + _ASYMMETRY_FLOOR)) ** _ASYMMETRY_POWER
        factor = np.where(ratio < _ASYMMETRIES[0], 0.0, np.minimum(ratio, _ASYMMETRIES[1]))
        return self.bands.norm(heard, 2), self.bands.norm(heard * factor, 1)

    def total(self, disturbance: Array) -> float:
        """A disturbance of all frames as one number: L6 within syllables, L2 over these."""
        weights = ((self.audible + _LOUD_FLOOR) / _LOUD) ** _LOUD_POWER
        limited = np.minimum(disturbance / weights, _MOST)[self.first :]
        starts = np.arange(0, len(limited), _STEP)
        behind = np.concatenate([limited, np.zeros(_SYLLABLE)])
        syllables = np.lib.stride_tricks.sliding_window_view(behind, _SYLLABLE)[starts]
        loudness = np.mean(syllables**6, axis=1) ** (1 / 6)
        importance = _importance(self.count)[self.first :][starts]
        return float(np.sqrt(np.sum((importance * loudness) ** 2) / np.sum(importance**2)))


def _heard_frames(reference: Array, hop: int) -> tuple[int, int]:
    """The first and the last frame in which the reference is not digital silence."""
    sums = np.convolve(np.abs(reference), np.ones(_TOGETHER), "valid")
    places = np.flatnonzero(sums >= _BEGUN)
    half = len(reference) // 2
    first, behind = (int(places[0]), int(len(sums) - 1 - places[-1])) if len(places) else (half, half)
    return min(first, half) // hop, (len(reference) - min(behind, half)) // hop - 1


def _response(bands: Bands, reference: Array, degraded: Array, frames: int) -> Array:
    """(bands,) how much more power the system lets through, on the whole."""
    speaks = bands.audible(reference, 100.0) >= _SILENT
    means = [
        np.where(each[speaks] > 100.0 * bands.thresholds, each[speaks], 0.0).sum(axis=0) / frames
        for each in (degraded, reference)
    ]
    return np.clip((means[0] + _RESPONSE_FLOOR) / (means[1] + _RESPONSE_FLOOR), *_RESPONSES)


def _gains(reference: Array, degraded: Array, begin: int) -> Array:
    """(T,) what makes each frame as loud as the reference's, smoothed over time."""
    ratios = (reference + _GAIN_FLOOR) / (degraded + _GAIN_FLOOR)
    found = np.empty_like(ratios)
    # The first frame of a recording has none before it; elsewhere the gain was 1.
    before = ratios[0] if begin == 0 else 1.0
    for place, ratio in enumerate(ratios):
        before = found[place] = _GAIN_MEMORY * before + (1 - _GAIN_MEMORY) * ratio
    return np.clip(found, *_GAINS)


def _importance(frames: int) -> Array:
    """(frames,) how much they count: all alike but in signals of more than 16 seconds."""
    share = min(max(frames - _LONG, 0) / _LONG_SLOPE, _LONG_MOST)
    return 1 - share + share * np.arange(frames) / frames
