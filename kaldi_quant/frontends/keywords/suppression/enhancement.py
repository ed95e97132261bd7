"""What stands around NSNet2: features of spectra before it, and its gains on spectra behind it.

Source: ``microsoft/DNS-Challenge``, ``NSNet2-baseline/enhance_onnx.py`` and ``featurelib.py``, whose windows, hops and
features these are. Two things are different at 16 kHz: the first frame begins before the signal, so that its first
10 ms are not faded in; and the window of synthesis is exact, where the baseline's is off by up to 0.5 %.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.frontends.keywords.networks.nsnet2 import Gains, NSNet2
from kaldi_quant.frontends.signals.stft import Analysis, Array, Stft, Synthesis
from kaldi_quant.units import Hertz

#: The baseline's frames, by the rate of recordings.
FRAMES: Mapping[Hertz, Stft] = {16000: Stft(320, 160, 320, periodic=False), 48000: Stft(960, 512, 1024)}
#: The baseline's, -80 dB.
LEAST_GAIN = 1e-4

# The baseline's, below which powers of bins are not told from each other.
_LEAST_POWER = 1e-12

#: The states of the network's recurrent layers.
States = tuple[Tensor, ...]
#: Called with features, (1, T, bins), and states; gives gains, and the states after the last frame.
Network = Callable[..., Gains]


def features_of(spectrum: Array) -> Tensor:
    """(1, T, bins) float32: log10 of the power of each bin; spectrum: (T, bins) complex."""
    return torch.from_numpy(np.log10(np.maximum(np.abs(spectrum) ** 2, _LEAST_POWER)).astype(np.float32))[None]


@dataclass(frozen=True)
class Suppressor:
    """A network that suppresses noise in recordings.

    Args:
        network: ``NSNet2``, or a quantized one's ``model()``.
        states: what it begins with.
        stft: its frames.

    Example:
        >>> suppressor = Suppressor.of(load_nsnet2())
        >>> enhanced = suppressor.enhance(noisy)
    """

    network: Network
    states: States
    stft: Stft

    @classmethod
    def of(cls, network: NSNet2) -> Suppressor:
        """The float network, in test mode, with the frames of the baseline of so many bins.

        Raises:
            UsageError: there is none.
        """
        return cls(network.eval(), network.states(), stft_of_bins(network.bins))

    def with_network(self, network: Network) -> Suppressor:
        """Another network, such as a quantized one, in the place of this one."""
        return Suppressor(network, self.states, self.stft)

    def enhance(self, noisy: Array) -> Array:
        """The speech in a recording, (samples,) float32.

        Args:
            noisy: (samples,) of floats, full scale is 1.

        Raises:
            DataError: it is no signal of one channel, or holds values that are not finite.
        """
        _check(noisy)
        spectrum = self.stft.spectrum(noisy)
        gains, _ = self.gains(spectrum, self.states)
        return self.stft.signal(spectrum * gains, len(noisy)).astype(np.float32)

    def gains(self, spectrum: Array, states: States) -> tuple[Array, States]:
        """(T, bins) for spectra, (T, bins), that follow on states; and the states after them."""
        with torch.no_grad():
            gains, *after = self.network(features_of(spectrum), *states)
        return gains[0].clamp(LEAST_GAIN, 1).numpy(), tuple(after)

    def stream(self) -> SuppressorStream:
        """Enhances a recording as it comes."""
        return SuppressorStream(self)

    def enhance_by_blocks(self, noisy: Array) -> Array:
        """As ``enhance``, block by block."""
        _check(noisy)
        stream, stft = self.stream(), self.stft
        padded = np.zeros(stft.count(len(noisy)) * stft.hop)
        padded[: len(noisy)] = noisy
        found = np.concatenate([stream.push(block) for block in padded.reshape(-1, stft.hop)])
        return found[stft.delay : stft.delay + len(noisy)]


class SuppressorStream:
    """A recording that is enhanced as it comes; what comes out is ``stft.delay`` samples late.

    Args:
        suppressor: what enhances it.
    """

    def __init__(self, suppressor: Suppressor) -> None:
        self._suppressor, self._states = suppressor, suppressor.states
        self._analysis, self._synthesis = Analysis(suppressor.stft), Synthesis(suppressor.stft)

    def push(self, block: Array) -> Array:
        """(hop,) float32 for the next samples, (hop,)."""
        spectrum = self._analysis.push(block)
        gains, self._states = self._suppressor.gains(spectrum, self._states)
        return self._synthesis.push(spectrum * gains).astype(np.float32)


def stft_of_bins(bins: int) -> Stft:
    """The baseline's frames whose spectra have so many bins.

    Raises:
        UsageError: there are none.
    """
    for stft in FRAMES.values():
        if stft.bins == bins:
            return stft
    known = " or ".join(f"{stft.bins} ({rate} Hz)" for rate, stft in FRAMES.items())
    raise UsageError(f"the network reads {bins} bins, expected {known}")


def _check(noisy: Array) -> None:
    if noisy.ndim != 1 or not noisy.size:
        raise DataError(f"expected a recording of one channel that is not empty, found an array of {noisy.shape}")
    if not np.isfinite(noisy).all():
        raise DataError("a recording holds values that are not finite (NaN or infinity)")
