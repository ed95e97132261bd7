"""Speech with noise: each utterance has noise, loudness and ratio of its own, which follow from a seed and its name."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.signals.level import at_level, mix, rms
from kaldi_quant.frontends.signals.noise import NOISES, make_noise
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.units import Hertz

#: Decibels.
Decibels = float


@dataclass(frozen=True)
class NoisySpeech:
    """An utterance.

    Args:
        name: its own.
        clean: (samples,) float32.
        noisy: (samples,) float32, the same with noise.
        noise: the kind of noise.
        snr: the ratio of speech to noise, in dB.
    """

    name: str
    clean: Array
    noisy: Array
    noise: str
    snr: Decibels


@dataclass(frozen=True)
class NoiseOptions:
    """What noise is added.

    Args:
        kinds: of ``NOISES``.
        snrs: the least and the greatest ratio of speech to noise, in dB.
        levels: the least and the greatest level of what is heard, in dB below full scale; the default is that of the
            DNS challenges.
        seed: all else follows from it.

    Raises:
        UsageError: a kind is unknown, or a range is none.
    """

    kinds: tuple[str, ...] = ("white", "pink", "brown", "babble")
    snrs: tuple[Decibels, Decibels] = (0.0, 15.0)
    levels: tuple[Decibels, Decibels] = (-35.0, -15.0)
    seed: int = 0

    def __post_init__(self) -> None:
        for kind in self.kinds:
            NOISES[kind]
        if not self.kinds:
            raise UsageError(f"expected kinds of noise among {', '.join(NOISES)}, found none")
        for name, (low, high) in (("snrs", self.snrs), ("levels", self.levels)):
            if not low <= high:
                raise UsageError(f"{name}: expected the least and the greatest, found {low:g} and {high:g}")


def noisy_speech(speech: Mapping[str, Array], rate: Hertz, options: NoiseOptions | None = None) -> list[NoisySpeech]:
    """Adds noise to utterances.

    Args:
        speech: name → (samples,) without noise; babble is made of all of them.
        rate: of all.
        options: what noise.

    Raises:
        DataError: an utterance is silence.
    """
    chosen = options or NoiseOptions()
    voices = list(speech.values())
    return [_with_noise(name, clean, voices, rate, chosen) for name, clean in speech.items()]


def _with_noise(name: str, clean: Array, voices: Sequence[Array], rate: Hertz, options: NoiseOptions) -> NoisySpeech:
    random = np.random.default_rng([options.seed, zlib.crc32(name.encode("utf-8", "surrogateescape"))])
    kind = str(random.choice(options.kinds))
    snr = float(random.uniform(*options.snrs))
    noisy = mix(clean, make_noise(kind, len(clean), rate, random, voices), snr, rate)
    levelled = at_level(noisy, float(random.uniform(*options.levels)))
    gain = rms(levelled) / rms(noisy)
    return NoisySpeech(name, (clean * gain).astype(np.float32), levelled, kind, snr)
