"""A recording of a word: where it lies, the room, the noise, the level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kaldi_quant.frontends.signals.level import at_level, mix
from kaldi_quant.frontends.signals.noise import NOISES, make_noise
from kaldi_quant.frontends.signals.rooms import impulse_response, reverberate
from kaldi_quant.units import Hertz, Seconds

Range = tuple[float, float]


@dataclass(frozen=True)
class Conditions:
    """What recordings may be like; all are drawn evenly.

    Attributes:
        seconds: the length of a recording.
        snr_db: the signal-to-noise ratio.
        in_room: how many are reverberant.
        rt60: the time of reverberation.
        direct_db: the ratio of direct sound and reverberation.
        dbfs: the level, in dB below full scale.
    """

    seconds: Range = (0.7, 0.9)
    snr_db: Range = (15.0, 30.0)
    in_room: float = 0.3
    rt60: tuple[Seconds, Seconds] = (0.1, 0.3)
    direct_db: Range = (3.0, 10.0)
    dbfs: Range = (-28.0, -20.0)


def make_clip(
    word: np.ndarray,
    rate: Hertz,
    step: int,
    conditions: Conditions,
    random: np.random.Generator,
    voices: Sequence[np.ndarray],
) -> np.ndarray:
    """A recording of a word.

    Args:
        word: (n,), without silence at its ends; what is longer than the recording is cut off.
        rate: in Hz.
        step: the length is a multiple of it.
        conditions: what it may be like.
        random: what it is like follows from it.
        voices: what babble is made of.

    Returns:
        (samples,) float32.
    """
    samples = round(random.uniform(*conditions.seconds) * rate / step) * step
    clip = np.zeros(samples, np.float32)
    begin = random.integers(max(1, samples - len(word) + 1))
    clip[begin : begin + len(word)] = word[: samples - begin]
    # All is drawn, whether it is used or not: one choice does not change what all later ones are like.
    in_room = random.random() < conditions.in_room
    response = impulse_response(random.uniform(*conditions.rt60), random.uniform(*conditions.direct_db), rate, random)
    if in_room:
        clip = reverberate(clip, response)
    kind = list(NOISES)[random.integers(len(NOISES))]
    noise = make_noise(kind, samples, rate, random, voices)
    noisy = mix(clip, noise, random.uniform(*conditions.snr_db), rate)
    return at_level(noisy, random.uniform(*conditions.dbfs))
