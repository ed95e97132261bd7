"""Noises of several kinds, made from a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.signals.level import rms
from kaldi_quant.registry import Registry
from kaldi_quant.units import Hertz

#: Makes so many samples at a rate: (samples, rate, generator, voices) → (samples,) float64 of any level.
NoiseMaker = Callable[[int, Hertz, np.random.Generator, Sequence[np.ndarray]], np.ndarray]

NOISES: Registry[NoiseMaker] = Registry("kind of noise")

# Below this frequency pink and brown noise have no power: it would not be heard, and take all of the level.
_LOWEST: Hertz = 20
# So many speak at the same time that none is understood.
_TALKERS = 6
_MAINS = (50.0, 60.0)
_CLICKS_PER_SECOND = 12.0


def make_noise(
    kind: str, samples: int, rate: Hertz, random: np.random.Generator, voices: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """Noise whose root mean square is 1.

    Args:
        kind: a name of ``NOISES``.
        samples: how many, above 0.
        rate: in Hz.
        random: what is random follows from it.
        voices: (n,) float32 each, what babble is made of, at this rate.

    Returns:
        (samples,) float32.

    Raises:
        UsageError: there is no such kind, or babble has no voices.
    """
    noise = NOISES[kind](samples, rate, random, voices)
    return (noise / max(rms(noise), np.finfo(np.float64).tiny)).astype(np.float32)


@NOISES.add("white")
def _white(samples: int, rate: Hertz, random: np.random.Generator, voices: Sequence[np.ndarray]) -> np.ndarray:
    """Of equal power at all frequencies."""
    return random.standard_normal(samples)


@NOISES.add("pink")
def _pink(samples: int, rate: Hertz, random: np.random.Generator, voices: Sequence[np.ndarray]) -> np.ndarray:
    """Of equal power in each octave."""
    return _falling(samples, rate, random, 0.5)


@NOISES.add("brown")
def _brown(samples: int, rate: Hertz, random: np.random.Generator, voices: Sequence[np.ndarray]) -> np.ndarray:
    """The sum of white noise: 6 dB less in each octave."""
    return _falling(samples, rate, random, 1.0)


@NOISES.add("hum")
def _hum(samples: int, rate: Hertz, random: np.random.Generator, voices: Sequence[np.ndarray]) -> np.ndarray:
    """The mains, 50 or 60 Hz, with harmonics up to about 1 kHz that grow weaker."""
    mains = random.choice(_MAINS)
    numbers = np.arange(1, min(20, int(rate / 2 / mains)) + 1)
    amplitudes = random.uniform(0.2, 1.0, len(numbers)) / numbers**0.5
    phases = random.uniform(0, 2 * np.pi, len(numbers))
    time = np.arange(samples)[:, None] / rate
    return (amplitudes * np.sin(2 * np.pi * mains * numbers * time + phases)).sum(axis=1)


@NOISES.add("clicks")
def _clicks(samples: int, rate: Hertz, random: np.random.Generator, voices: Sequence[np.ndarray]) -> np.ndarray:
    """Short blows at random times, each a few milliseconds of noise that dies away; at least one."""
    noise = np.zeros(samples)
    for place in random.integers(0, samples, max(1, random.poisson(_CLICKS_PER_SECOND * samples / rate))):
        time = np.arange(min(samples - place, int(0.05 * rate) + 1)) / rate
        decay = random.uniform(0.001, 0.008)
        blow = np.exp(-time / decay) * random.standard_normal(len(time))
        noise[place : place + len(time)] += random.uniform(0.3, 1.0) * blow
    return noise


@NOISES.add("babble")
def _babble(samples: int, rate: Hertz, random: np.random.Generator, voices: Sequence[np.ndarray]) -> np.ndarray:
    """Several voices at the same time, each repeated from a random place on."""
    heard = [voice for voice in voices if len(voice) and rms(voice) > 0]
    if not heard:
        raise UsageError("babble is made of voices, and none with any sound was given")
    noise = np.zeros(samples)
    for _ in range(_TALKERS):
        voice = heard[random.integers(len(heard))].astype(np.float64)
        begin = random.integers(len(voice))
        noise += np.resize(np.roll(voice, -begin), samples) / rms(voice) * random.uniform(0.5, 1.0)
    return noise


def _falling(samples: int, rate: Hertz, random: np.random.Generator, power: float) -> np.ndarray:
    """Noise whose amplitudes fall with a power of the frequency."""
    spectrum = np.fft.rfft(random.standard_normal(samples))
    frequencies = np.fft.rfftfreq(samples, 1 / rate)
    heard = frequencies >= _LOWEST
    shape = np.zeros(len(frequencies))
    shape[heard] = frequencies[heard] ** -power
    if not heard.any():
        shape[-1] = 1.0
    return np.fft.irfft(spectrum * shape, samples)
