"""Short-time Fourier transforms of batches of waves, as networks for speech enhancement use them; gradients pass.

Both give a signal back as it was where its spectrum was not changed. ``stft`` has those that stream sample by sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from scipy import signal
from torch import Tensor
from torch.nn import functional

from kaldi_quant.errors import UsageError
from kaldi_quant.registry import Registry

#: In numbers of samples.
Samples = int
#: Sums of windows below this are taken for it.
LEAST_OVERLAP = 1e-8


class Transform(Protocol):
    """From waves to spectra and back."""

    @property
    def hop(self) -> Samples:
        """From one frame to the next."""

    @property
    def window(self) -> Samples:
        """Of a frame, whose middle is at a multiple of the hop."""

    @property
    def fft(self) -> Samples:
        """Points of the transform, a frame in their middle."""

    @property
    def analysis(self) -> Tensor:
        """(window,) float32, by which a frame is multiplied."""

    @property
    def synthesis(self) -> Tensor:
        """(window,) float32, by which it is multiplied again before frames are added up."""

    @property
    def bins(self) -> int:
        """Values of a frame's spectrum."""

    def count(self, samples: Samples) -> int:
        """Frames of a signal."""

    def spectrum(self, waves: Tensor) -> Tensor:
        """(N, T, bins) complex64 of waves (N, samples) float32."""

    def waves(self, spectrum: Tensor, samples: Samples) -> Tensor:
        """(N, samples) float32 of spectra (N, T, bins) of signals of so many samples."""


@dataclass(frozen=True)
class HammingTransform:
    """Frames under a symmetric Hamming window, added up without a window of synthesis.

    Frame t is centred at sample ``t * hop``; silence lies around the signal. What is added up is divided by the sum of
    the windows that meet at each sample (``numpy.hamming``; the transform of CRN and TCN, MBQAT).

    Args:
        window: samples of a frame, twice ``hop``; also the points of the transform.
        hop: samples from one frame to the next.
    """

    window: Samples = 320
    hop: Samples = 160

    @property
    def bins(self) -> int:
        """Values of a frame's spectrum."""
        return self.window // 2 + 1

    def count(self, samples: Samples) -> int:
        """Frames of a signal: samples / hop, rounded up, and one more."""
        return -(-samples // self.hop) + 1

    @property
    def fft(self) -> Samples:
        """As ``Transform``."""
        return self.window

    @cached_property
    def analysis(self) -> Tensor:
        """(window,) float32, by which a frame is multiplied."""
        return torch.hamming_window(self.window, periodic=False)

    @cached_property
    def synthesis(self) -> Tensor:
        """(window,) float32: ones."""
        return torch.ones(self.window)

    def spectrum(self, waves: Tensor) -> Tensor:
        """As ``Transform``."""
        behind = -waves.shape[-1] % self.hop
        padded = functional.pad(waves, (self.hop, self.hop + behind))
        return torch.fft.rfft(padded.unfold(-1, self.window, self.hop) * self.analysis.to(waves))

    def waves(self, spectrum: Tensor, samples: Samples) -> Tensor:
        """As ``Transform``."""
        frames = torch.fft.irfft(spectrum, self.window)
        windows = self.analysis.to(frames).expand(1, frames.shape[1], -1)
        return (self._added(frames) / self._added(windows).clamp_min(LEAST_OVERLAP))[:, :samples]

    def _added(self, frames: Tensor) -> Tensor:
        """(N, (T - 1) * hop) of frames (N, T, window) that overlap; the halves outside of the signal are cut off."""
        length = (frames.shape[1] + 1) * self.hop
        added = functional.fold(frames.transpose(1, 2), (1, length), kernel_size=(1, self.window), stride=(1, self.hop))
        return added[:, 0, 0, self.hop : -self.hop]


@dataclass(frozen=True)
class CentredTransform:
    """librosa's: frames centred at ``t * hop``, a periodic window in analysis and in synthesis.

    ``librosa.stft(n_fft, hop_length, win_length, center=True, pad_mode="constant")`` and ``librosa.istft`` give the
    same; the transform of the STM32 model zoo.

    Args:
        fft: points of the transform.
        hop: samples from one frame to the next.
        window: samples of a frame, in the middle of the transform.
        shape: of the window, a name that ``scipy.signal.get_window`` knows.

    Raises:
        UsageError: there is no such window.
    """

    fft: Samples = 512
    hop: Samples = 160
    window: Samples = 400
    shape: str = "hann"

    def __post_init__(self) -> None:
        _ = self.analysis

    @property
    def bins(self) -> int:
        """Values of a frame's spectrum."""
        return self.fft // 2 + 1

    def count(self, samples: Samples) -> int:
        """Frames of a signal: samples / hop, rounded down, and one more."""
        return samples // self.hop + 1

    @cached_property
    def analysis(self) -> Tensor:
        """(window,) float32, by which a frame is multiplied."""
        if self.shape == "hann":
            return torch.hann_window(self.window)
        try:
            return torch.from_numpy(signal.get_window(self.shape, self.window)).float()
        except ValueError as error:
            raise UsageError(f"the window {self.shape!r} cannot be made: {error}") from error

    @property
    def synthesis(self) -> Tensor:
        """(window,) float32, the window of analysis."""
        return self.analysis

    def spectrum(self, waves: Tensor) -> Tensor:
        """As ``Transform``."""
        window = self.analysis.to(waves)
        found = torch.stft(
            waves, self.fft, self.hop, self.window, window, center=True, pad_mode="constant", return_complex=True
        )
        return found.transpose(1, 2)

    def waves(self, spectrum: Tensor, samples: Samples) -> Tensor:
        """As ``Transform``."""
        window = self.analysis.to(spectrum.real)
        return torch.istft(spectrum.transpose(1, 2), self.fft, self.hop, self.window, window, length=samples)


def with_magnitude(spectrum: Tensor, magnitude: Tensor) -> Tensor:
    """A spectrum with other magnitudes and its own phases; where it is 0, the phase is 0. Both (N, T, bins)."""
    return torch.polar(magnitude, spectrum.angle())


#: Those that networks are made for, at 16 kHz.
TRANSFORMS: Registry[Transform] = Registry("transform")
TRANSFORMS.add("hamming-320")(HammingTransform())
TRANSFORMS.add("hann-512")(CentredTransform())
