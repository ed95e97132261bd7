"""Noises whose parameters are drawn from ranges: what a network learns from and what it is measured on can differ.

Beside ``noise.make_noise``, whose kinds have no parameters. All are made in a few milliseconds for each second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import fft

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.signals.level import rms
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.units import Hertz, Seconds

#: From the least to the greatest; of several such ranges each is drawn as often as it is wide.
Ranges = tuple[tuple[float, float], ...]

# How steeply a band ends: the order of a Butterworth filter.
_ORDER = 4


class Noise(Protocol):
    """A kind of noise."""

    def make(self, samples: int, rate: Hertz, random: np.random.Generator, voices: Sequence[Array]) -> Array:
        """Noise of any level.

        Args:
            samples: how many, above 0.
            rate: in Hz.
            random: what is random follows from it.
            voices: (n,) float32 each, what babble is made of.

        Returns:
            (samples,) float32.

        Raises:
            DataError: babble has no voices, or silent ones.
        """


def draw(random: np.random.Generator, ranges: Ranges) -> float:
    """A value out of ranges, all alike; a range without width is a value, drawn as often as the other such ones."""
    widths = np.array([high - low for low, high in ranges])
    shares = widths / widths.sum() if widths.any() else np.full(len(ranges), 1 / len(ranges))
    low, high = ranges[int(random.choice(len(ranges), p=shares))]
    return float(random.uniform(low, high))


@dataclass(frozen=True)
class Coloured:
    """Noise whose power falls or rises with frequency, in a band.

    Args:
        slopes: dB in each octave; 0 for white noise, -3 for pink, -6 for brown.
        lows: where the band begins, in Hz.
        highs: where it ends, in Hz.
    """

    slopes: Ranges
    lows: Ranges
    highs: Ranges

    def make(self, samples: int, rate: Hertz, random: np.random.Generator, voices: Sequence[Array]) -> Array:
        """As ``Noise``."""
        slope, low, high = (draw(random, ranges) for ranges in (self.slopes, self.lows, self.highs))
        length = fft.next_fast_len(max(samples, 2), real=True)
        spectrum = random.standard_normal(2 * (length // 2 + 1), np.float32).view(np.complex64)
        # The constant has no place in sound, and no logarithm.
        frequencies = np.maximum(np.arange(len(spectrum), dtype=np.float32), 1) * np.float32(rate / length)
        # An octave is a factor of 2, 20 log10(2) dB are a factor of 2 in amplitude.
        shape = frequencies ** np.float32(slope / (20 * np.log10(2)))
        below, above = (low / frequencies) ** (2 * _ORDER), (frequencies / high) ** (2 * _ORDER)
        shape /= np.sqrt((1 + below) * (1 + above))
        return fft.irfft(spectrum * (shape / shape.max()), length)[:samples]


@dataclass(frozen=True)
class Babble:
    """Several who speak at the same time.

    Args:
        talkers: how many; fractions are rounded.
    """

    talkers: Ranges

    def make(self, samples: int, rate: Hertz, random: np.random.Generator, voices: Sequence[Array]) -> Array:
        """As ``Noise``."""
        if not len(voices):
            raise DataError("babble is made of the speech of others, and there is none")
        noise = np.zeros(samples, np.float32)
        for _ in range(round(draw(random, self.talkers))):
            gain = random.uniform(0.5, 1.0)
            place = 0
            while place < samples:
                voice = voices[int(random.integers(len(voices)))]
                if place == 0:
                    voice = voice[int(random.integers(len(voice))) :]
                part = voice[: samples - place]
                noise[place : place + len(part)] += np.float32(gain) * part
                place += len(part)
        if not noise.any():
            raise DataError("babble is made of the speech of others, and it is silent")
        return noise


@dataclass(frozen=True)
class Hum:
    """The mains, with harmonics up to a frequency, and a little noise.

    Args:
        mains: the fundamental, in Hz.
        highest: of the harmonics, in Hz.
        falls: the power of its number by which a harmonic is weaker.
        floors: the noise, in dB relative to the harmonics.
    """

    mains: Ranges
    highest: Ranges
    falls: Ranges
    floors: Ranges

    def make(self, samples: int, rate: Hertz, random: np.random.Generator, voices: Sequence[Array]) -> Array:
        """As ``Noise``."""
        mains, highest, fall, floor = (
            draw(random, ranges) for ranges in (self.mains, self.highest, self.falls, self.floors)
        )
        count = max(1, int(min(highest, 0.45 * rate) / mains))
        amplitudes = random.uniform(0.3, 1.0, count) * np.arange(1.0, count + 1) ** -fall
        hum = _harmonics(2 * np.pi * mains / rate * np.arange(samples), amplitudes, random)
        return _with_noise(hum, random.standard_normal(samples, np.float32), floor)


@dataclass(frozen=True)
class Clicks:
    """Short blows at random times, each noise and a tone that die away.

    Args:
        per_second: how many.
        decays: the time in which a blow falls to 1/e, in s.
        tones: in Hz.
    """

    per_second: Ranges
    decays: Ranges
    tones: Ranges

    def make(self, samples: int, rate: Hertz, random: np.random.Generator, voices: Sequence[Array]) -> Array:
        """As ``Noise``."""
        noise = np.zeros(samples, np.float32)
        count = max(1, random.poisson(draw(random, self.per_second) * samples / rate))
        for place in random.integers(samples, size=count):
            decay, tone = draw(random, self.decays), draw(random, self.tones)
            # Behind seven times the decay, 60 dB are gone.
            time: Array = np.arange(min(samples - place, int(7 * decay * rate) + 1)) / rate
            blow = random.standard_normal(len(time)) + 2 * np.sin(2 * np.pi * tone * time)
            noise[place : place + len(time)] += random.uniform(0.3, 1.0) * np.exp(-time / decay) * blow
        return noise


@dataclass(frozen=True)
class Machine:
    """Something that turns: harmonics of its speed and broad noise, both of which swell and fade with each turn.

    Args:
        speeds: the fundamental of its harmonics, in Hz.
        swells: how often it swells, in Hz.
        depths: by which share of its amplitude.
        floors: the noise, in dB relative to the harmonics.
        noise: what noise.
    """

    speeds: Ranges
    swells: Ranges
    depths: Ranges
    floors: Ranges
    noise: Coloured

    # The speed itself wanders by so much, within so long a time.
    _WANDERING = 0.02
    _PERIOD: Seconds = 2.0
    _HARMONICS = 24

    def make(self, samples: int, rate: Hertz, random: np.random.Generator, voices: Sequence[Array]) -> Array:
        """As ``Noise``."""
        speed, swell, depth, floor = (
            draw(random, ranges) for ranges in (self.speeds, self.swells, self.depths, self.floors)
        )
        time = np.arange(samples) / rate
        wandering = 2 * np.pi * (time / self._PERIOD + random.random())
        phase = 2 * np.pi * speed * (time - self._WANDERING * self._PERIOD / (2 * np.pi) * np.cos(wandering))
        count = max(1, min(self._HARMONICS, int(0.45 * rate / (speed * (1 + self._WANDERING)))))
        amplitudes = random.uniform(0.1, 1.0, count) * np.arange(1.0, count + 1) ** -random.uniform(0.7, 1.3)
        harmonics = _harmonics(phase, amplitudes, random)
        swelling = 1 + depth * np.sin(2 * np.pi * (swell * time + random.random()), dtype=np.float32)
        return swelling * _with_noise(harmonics, self.noise.make(samples, rate, random, voices), floor)


def _harmonics(phase: Array, amplitudes: Array, random: np.random.Generator) -> Array:
    """Harmonics (n,) float32 of a fundamental of given phases (n,), with amplitudes (count,) and random phases."""
    # Horner's scheme in powers of the fundamental: one sine for all of them.
    weights = (amplitudes * np.exp(2j * np.pi * random.random(len(amplitudes)))).astype(np.complex64)
    turn = np.exp(1j * np.remainder(phase, 2 * np.pi)).astype(np.complex64)
    total = np.full(len(phase), weights[-1])
    for weight in weights[-2::-1]:
        total *= turn
        total += weight
    return (total * turn).imag


def _with_noise(sound: Array, noise: Array, decibels: float) -> Array:
    """A sound and noise that is so much louder."""
    gain = rms(sound) / max(rms(noise), np.finfo(np.float64).tiny) * 10 ** (decibels / 20)
    return (sound + np.float32(gain) * noise).astype(np.float32)
