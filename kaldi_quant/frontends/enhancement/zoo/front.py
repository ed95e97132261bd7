"""What stands around a mask network in the zoo: the transform and the power that ``preprocessing`` asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.enhancement.networks.known import Around
from kaldi_quant.frontends.enhancement.zoo.sections import Preprocessing
from kaldi_quant.frontends.signals.transforms import CentredTransform

_CLOSE = 1e-3
#: A mask for magnitudes, both (N, bins, T).
MaskFunction = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ZooFront(Around):
    """Magnitudes in, a mask out, each of (N, bins, T).

    Args:
        centred: the transform, in the place of a registered one.
        power: of magnitudes that the network sees; the mask is for the spectrum itself.
        peak_normalize: whether waves are divided by their greatest absolute value before.
    """

    transform: str = ""
    layout: str = "bins-frames"  # type: ignore[assignment]
    centred: CentredTransform = field(default_factory=CentredTransform)
    power: float = 1.0
    peak_normalize: bool = False

    @classmethod
    def of(cls, preprocessing: Preprocessing) -> ZooFront:
        """As a configuration asks for it.

        Raises:
            UsageError: there is no such window, or spectra by it cannot be turned back into waves.
        """
        found = preprocessing
        centred = CentredTransform(found.n_fft, found.hop_length, found.win_length, found.window)
        _check_inverse(centred)
        return cls(centred=centred, power=found.power, peak_normalize=found.peak_normalize)

    @property
    def stft(self) -> CentredTransform:
        """Its transform."""
        return self.centred

    def inputs(self, spectrum: Tensor) -> Tensor:
        """What the network is called with, for spectra (N, T, bins)."""
        magnitude = super().inputs(spectrum)
        return magnitude if self.power == 1 else magnitude**self.power

    def normalized(self, wave: np.ndarray) -> np.ndarray:
        """A wave (samples,) float32 as the transform gets it; silence stays silence."""
        peak = float(np.abs(wave).max(initial=0.0)) if self.peak_normalize else 0.0
        return wave / np.float32(peak) if peak else wave

    def enhance_wave(self, mask: MaskFunction, wave: np.ndarray) -> np.ndarray:
        """A wave (samples,) float32 without its noise; one without samples is given back."""
        if not len(wave):
            return wave
        with torch.inference_mode():
            return self.enhance(mask, torch.from_numpy(np.ascontiguousarray(wave))[None])[0].numpy()


def _check_inverse(transform: CentredTransform) -> None:
    # The last samples lie farthest behind a frame's centre.
    wave = torch.ones(1, 4 * transform.hop - 1)
    try:
        back = transform.waves(transform.spectrum(wave), wave.shape[-1])
        there = torch.allclose(back, wave, atol=_CLOSE)
    except RuntimeError:
        there = False
    if not there:
        raise UsageError(
            f"preprocessing: frames of {transform.window} samples ({transform.shape}) every {transform.hop} samples "
            "cannot be turned back into a wave: choose a smaller hop_length"
        )
