"""What training minimises between enhanced and clean speech; padding behind signals counts nowhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from kaldi_quant.frontends.enhancement.networks.known import Around
from kaldi_quant.registry import Registry
from kaldi_quant.torchnn.batches import LossFunction

# Of energies: a silent signal has a finite ratio.
_LEAST_ENERGY = 1e-8
# S. Braun and I. Tashev, "A consideration of noise and reverberation suppression", 2021: the power of magnitudes, and
# the share of the error of complex values.
_COMPRESSION, _COMPLEX_SHARE = 0.3, 0.3
#: Of the compressed error beside a ratio in dB.
COMPRESSED_SHARE = 50.0
# Of squared magnitudes: below it, where speech has nothing to be heard, a power's slope would grow without limit.
_LEAST_SQUARE = 1e-6
# Of two squared magnitudes: where there is nothing, phases agree.
_LEAST_PRODUCT = 1e-30


def power(spectrum: Tensor) -> Tensor:
    """The squared magnitudes of complex values; the square of ``abs`` takes several times as long."""
    return spectrum.real.square() + spectrum.imag.square()


class Target(NamedTuple):
    """What a minibatch's losses need beside the network's output.

    Args:
        noisy: (N, T, bins) complex64, the noisy spectra.
        clean: (N, S) float32, the clean waves, 0 behind their ends.
        samples: (N,) int64, how long each is.
    """

    noisy: Tensor
    clean: Tensor
    samples: Tensor


class Estimate:
    """A minibatch's enhanced speech beside the clean one; what a loss needs of it is computed once.

    Args:
        around: what stands around the network.
        output: of the network.
        target: as above.
    """

    def __init__(self, around: Around, output: Tensor, target: Target) -> None:
        self.around, self.output, self.target = around, output, target

    @cached_property
    def frames(self) -> Tensor:
        """(N, T, 1): 1 for frames of the signal, 0 for those of padding."""
        counts = [self.around.stft.count(int(samples)) for samples in self.target.samples]
        places = torch.arange(self.target.noisy.shape[1])
        return (places < torch.tensor(counts).unsqueeze(1)).float().unsqueeze(2)

    @cached_property
    def spectrum(self) -> Tensor:
        """(N, T, bins), enhanced."""
        return self.around.enhanced(self.target.noisy, self.output)

    @cached_property
    def magnitude(self) -> Tensor:
        """(N, T, bins), enhanced."""
        return self.around.magnitude(power(self.target.noisy).sqrt(), self.output)

    @cached_property
    def clean_spectrum(self) -> Tensor:
        """(N, T, bins)."""
        return self.around.stft.spectrum(self.target.clean)

    @cached_property
    def waves(self) -> Tensor:
        """(N, S), enhanced, 0 behind the ends of signals."""
        samples = self.target.samples.tolist()
        length, stft = self.target.clean.shape[1], self.around.stft
        if min(samples) == length:
            return stft.waves(self.spectrum, length)
        # Frames of padding would reach into the ends of signals.
        found = torch.zeros_like(self.target.clean)
        for place, count in enumerate(samples):
            found[place, :count] = stft.waves(self.spectrum[place : place + 1, : stft.count(count)], count)[0]
        return found

    def over_frames(self, error: Tensor) -> Tensor:
        """(): the mean of errors (N, T, bins) over real frames."""
        return (error * self.frames).sum() / (self.frames.sum() * error.shape[2])


#: The mean loss of a minibatch, ().
Measure = Callable[[Estimate], Tensor]
#: Losses by name.
LOSSES: Registry[Measure] = Registry("loss")


def loss_of(name: str, around: Around) -> LossFunction:
    """The loss of a network's output, with a ``Target``.

    Args:
        name: of ``LOSSES``.
        around: what stands around the network.

    Raises:
        UsageError: there is no such loss.
    """
    measure = LOSSES[name]

    def loss(output: Tensor, target: Target) -> Tensor:
        return measure(Estimate(around, output, Target(*target)))

    return loss


@LOSSES.add("magnitude-mse")
def magnitude_mse(found: Estimate) -> Tensor:
    """The squared error of magnitudes (MBQAT)."""
    return found.over_frames((found.magnitude - power(found.clean_spectrum).sqrt()).square())


@LOSSES.add("spec-mse")
def spec_mse(found: Estimate) -> Tensor:
    """The squared error of real parts and that of imaginary parts, added (STM32 model zoo)."""
    return found.over_frames(power(found.spectrum - found.clean_spectrum))


@LOSSES.add("wave-mse")
def wave_mse(found: Estimate) -> Tensor:
    """The squared error of samples."""
    return (found.waves - found.target.clean).square().sum() / found.target.samples.sum()


@LOSSES.add("wave-snr")
def wave_snr(found: Estimate) -> Tensor:
    """Minus the ratio of signal to error, in dB, the mean over signals."""
    clean = found.target.clean
    return -_decibels(clean, found.waves - clean)


@LOSSES.add("wave-si-snr")
def wave_si_snr(found: Estimate) -> Tensor:
    """The same, the clean signal scaled to fit best; means stay where they are."""
    clean, waves = found.target.clean, found.waves
    scale = (clean * waves).sum(1, keepdim=True) / (clean.square().sum(1, keepdim=True) + _LEAST_ENERGY)
    return -_decibels(clean * scale, waves - clean * scale)


@LOSSES.add("compressed-si-snr")
def compressed_si_snr(found: Estimate) -> Tensor:
    """Both: the error of compressed spectra, which is heard, and the ratio of signal to error, by which waves agree."""
    return COMPRESSED_SHARE * compressed_mse(found) + wave_si_snr(found)


@LOSSES.add("compressed-mse")
def compressed_mse(found: Estimate) -> Tensor:
    """The squared error of compressed magnitudes, and of complex values with these; closer to what is heard.

    Of values g exp(i a) and w exp(i b) it is (g - w)² + 2 g w (1 - cos(a - b)), the last part weighted.
    """
    clean, noisy = found.clean_spectrum, found.target.noisy
    wanted = _compressed(power(clean).sqrt(), power(clean))
    # The cosine between the two phases.
    agreement = clean.real * noisy.real + clean.imag * noisy.imag
    agreement = agreement * (power(clean) * power(noisy) + _LEAST_PRODUCT).rsqrt()
    given = _compressed(found.magnitude, found.magnitude.square())
    return found.over_frames((given - wanted).square() + given * (2 * _COMPLEX_SHARE * wanted * (1 - agreement)))


def _compressed(magnitude: Tensor, square: Tensor) -> Tensor:
    return magnitude * (square + _LEAST_SQUARE) ** ((_COMPRESSION - 1) / 2)


def _decibels(signal: Tensor, error: Tensor) -> Tensor:
    """(): the mean ratio of energies of (N, S) and (N, S)."""
    energies = [x.square().sum(1) + _LEAST_ENERGY for x in (signal, error)]
    return 10 * (energies[0] / energies[1]).log10().mean()
