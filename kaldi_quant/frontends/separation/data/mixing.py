"""Makes a mixture of what several say, and of noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.separation.data.mixtures import Mixture
from kaldi_quant.frontends.separation.data.options import Decibels, MixOptions, Task
from kaldi_quant.frontends.signals.level import active_rms
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.frontends.speech.conditions import CONDITIONS
from kaldi_quant.units import Hertz


def mixed(
    name: str,
    waves: Sequence[Array],
    voices: Sequence[Array],
    rate: Hertz,
    task: Task,
    options: MixOptions,
    random: np.random.Generator,
) -> Mixture:
    """A mixture, as long as the shortest wave.

    Args:
        name: of the mixture.
        waves: (n,) float32 each, what each says.
        voices: what babble is made of.
        rate: of all, in Hz.
        task: what is heard and what is wanted.
        options: levels and noises.
        random: what is random follows from it.

    Raises:
        DataError: speech or noise is silence; names the mixture.
    """
    samples = min(map(len, waves))
    parts = [_levelled(name, wave[:samples], rate, options.levels, random) for wave in waves]
    if task.is_noisy:
        noises = CONDITIONS[options.conditions].noises
        kind = tuple(noises)[int(random.integers(len(noises)))]
        noise = noises[kind].make(samples, rate, random, voices)
        parts.append(_levelled(name, noise, rate, options.noise_levels, random))
    stacked = np.stack(parts)
    highest = float(np.abs(stacked.sum(axis=0)).max())
    if highest > options.peak:
        stacked *= np.float32(options.peak / highest)
    sources = stacked[: len(waves)].sum(axis=0, keepdims=True) if task.is_summed else stacked[: len(waves)]
    return Mixture(name, stacked.sum(axis=0)[None], sources[:, None])


def _levelled(
    name: str, wave: Array, rate: Hertz, levels: tuple[Decibels, Decibels], random: np.random.Generator
) -> Array:
    level = active_rms(wave, rate)
    if level == 0:
        raise DataError(f"{name}: speech or noise is silence")
    return (wave * (10 ** (random.uniform(*levels) / 20) / level)).astype(np.float32)
