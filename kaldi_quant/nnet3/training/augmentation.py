"""Training features as of other speakers and through other channels: made from MFCC alone, without the audio.

Warps and filters are linear in the logarithm of the mel spectrum, and so in cepstra: a matrix and a vector for each
sequence. Sources: N. Jaitly and G. Hinton, "Vocal Tract Length Perturbation (VTLP) improves speech
recognition", ICML workshop on deep learning for audio, speech and language, 2013; H. Nam et al., "FilterAugment: An
Acoustic Environmental Data Augmentation Method", ICASSP 2022, of which this is the linear form; for the cepstra,
``ComputeDctMatrix`` and ``ComputeLifterCoeffs`` in Kaldi's ``src/feat``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.mfcc_options import MfccOptions, hertz, mel

# Of VTLP: up to this share of the highest frequency that the audio has, all frequencies are multiplied by the factor.
_LINEAR_SHARE = 0.6
#: A filter is linear, in decibels over the mel scale, between so many points.
POINTS = 6
_NEPERS_PER_DECIBEL = math.log(10) / 10


@dataclass(frozen=True)
class AugmentationOptions:
    """How much features are changed.

    Args:
        vtlp: the frequency axis is multiplied by a random factor of at most so much more or less than 1.
        filter_augment: a random filter amplifies and attenuates by at most so many decibels.
        mfcc: how the features were made.

    Raises:
        UsageError: a value is impossible, or the features are no cepstra that can be warped.
    """

    vtlp: float
    filter_augment: float
    mfcc: MfccOptions

    def __post_init__(self) -> None:
        if not 0 <= self.vtlp <= 0.5:
            raise UsageError(f"--vtlp {self.vtlp:g}: expected 0 to 0.5")
        if not 0 <= self.filter_augment <= 40:
            raise UsageError(f"--filter-augment {self.filter_augment:g}: expected 0 to 40 decibels")
        if self.mfcc.htk_compat:
            raise UsageError("--htk-compat=true: features in HTK's order cannot be warped")


class Augmentation:
    """Changes minibatches.

    Args:
        options: how much.
        dim: of the features.

    Raises:
        UsageError: the features were not made with these options.
    """

    def __init__(self, options: AugmentationOptions, dim: int) -> None:
        self.options = options
        if options.mfcc.num_ceps != dim:
            raise UsageError(
                f"--mfcc-config has --num-ceps={options.mfcc.num_ceps}, and the model's features have dimension {dim}"
            )

    def __call__(self, feats: Tensor, seed: Sequence[int], share: slice) -> Tensor:
        """Changes each sequence of a minibatch in a way of its own.

        Args:
            feats: (N, frames, dim) float32.
            seed: what the changes depend on: other ones for each minibatch.
            share: which of the minibatch's sequences these are.
        """
        total = len(feats) * (share.step or 1)
        drawn = 2 * np.random.default_rng(seed).random((total, 1 + POINTS))[share] - 1
        return self.changed(feats, 1 + self.options.vtlp * drawn[:, 0], self.options.filter_augment * drawn[:, 1:])

    def changed(self, feats: Tensor, factors: np.ndarray, gains: np.ndarray) -> Tensor:
        """Changes sequences in given ways.

        Args:
            feats: (N, frames, dim) float32.
            factors: (N,), of the frequencies at which a sequence's spectrum is read.
            gains: (N, POINTS) in decibels, at points that are evenly spread over the mel scale.
        """
        vectors = _NEPERS_PER_DECIBEL * gains @ self._filters
        both = (torch.from_numpy(array.astype(np.float32)) for array in (self._warps(factors), vectors))
        matrices, offsets = (tensor.to(feats.device) for tensor in both)
        return torch.baddbmm(offsets.unsqueeze(1), feats, matrices.transpose(1, 2))

    @cached_property
    def _dct(self) -> np.ndarray:
        """(dim, bins): cepstra from the logarithm of the mel spectrum."""
        options = self.options.mfcc
        bins, order = options.num_mel_bins, np.arange(options.num_ceps)[:, None]
        cosines = np.cos(np.pi / bins * (np.arange(bins) + 0.5) * order) * math.sqrt(2 / bins)
        cosines[0] = math.sqrt(1 / bins)
        lifter = options.cepstral_lifter
        return cosines if lifter == 0 else cosines * (1 + 0.5 * lifter * np.sin(np.pi * order / lifter))

    @cached_property
    def _inverse(self) -> np.ndarray:
        """(bins, dim): the smoothest spectrum that has these cepstra."""
        return np.linalg.pinv(self._dct)

    @cached_property
    def _filters(self) -> np.ndarray:
        """(points, dim): the cepstra of each point's share in a filter."""
        places = np.linspace(0, POINTS - 1, self.options.mfcc.num_mel_bins)
        shares = np.maximum(0, 1 - np.abs(places - np.arange(POINTS)[:, None]))
        cepstra = shares @ self._dct.T
        if self.options.mfcc.use_energy:
            cepstra[:, 0] = 0
        return cepstra

    def _warps(self, factors: np.ndarray) -> np.ndarray:
        """(N, dim, dim): what multiplies the cepstra of each sequence, from the (N,) factors of its frequencies."""
        options = self.options.mfcc
        bins, nyquist = options.num_mel_bins, options.sample_frequency / 2
        low, high = mel(np.array([options.low_freq, options.highest()]))
        step = (high - low) / (bins + 1)
        centres = hertz(low + step * (1 + np.arange(bins)))
        places = (mel(_warped(centres, factors[:, None], nyquist)) - low) / step - 1
        spread = np.maximum(0, 1 - np.abs(places.clip(0, bins - 1)[:, :, None] - np.arange(bins)))
        matrices = self._dct @ spread @ self._inverse
        if options.use_energy:
            # The first of them is no cepstrum.
            matrices[:, 0] = matrices[:, :, 0] = 0
            matrices[:, 0, 0] = 1
        return matrices


def _warped(frequencies: np.ndarray, factors: np.ndarray, nyquist: float) -> np.ndarray:
    """The frequencies that are heard at given ones; the highest stays where it is."""
    bend = _LINEAR_SHARE * nyquist * np.minimum(factors, 1)
    slope = (nyquist - bend) / (nyquist - bend / factors)
    return np.where(frequencies <= bend / factors, frequencies * factors, nyquist - slope * (nyquist - frequencies))
