"""Makes a pair of clean speech: in a room or not, with noise, at a level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.enhancement.data.noise_gain import MIXINGS
from kaldi_quant.frontends.enhancement.data.options import MixOptions
from kaldi_quant.frontends.enhancement.data.pairs import Decibels, Pair
from kaldi_quant.frontends.signals.rooms import reverberate
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.frontends.speech.conditions import CONDITIONS
from kaldi_quant.units import Hertz


def mixed(
    name: str,
    speech: Array,
    voices: Sequence[Array],
    rate: Hertz,
    options: MixOptions,
    random: np.random.Generator,
    *,
    noise: str | None = None,
    snr: Decibels | None = None,
    room: bool | None = None,
    speaker: str = "",
) -> Pair:
    """A pair.

    In a room, what is heard has all reflections, and the target those within ``EARLY`` behind the direct sound. Without
    one the target is the speech itself. The ratio is that of what is heard of the speech and the noise.

    Args:
        name: of the pair.
        speech: (n,), dry and clean.
        voices: what babble is made of.
        rate: of all, in Hz.
        options: how it is mixed.
        random: what is not given follows from it, and what noise and room are like.
        noise: a kind; drawn where None, as are the next two.
        snr: the ratio of speech to noise, in dB.
        room: whether it is heard in a room.
        speaker: who speaks.

    Raises:
        DataError: speech or noise is silence; names the pair.
    """
    conditions = CONDITIONS[options.conditions]
    # All is drawn, whether it is used or not: one choice does not change what all later ones are like.
    drawn = options.draw_kind(random), options.draw_snr(random), bool(random.random() < options.room_share)
    kind, ratio = noise or drawn[0], drawn[1] if snr is None else snr
    in_room = drawn[2] if room is None else room
    number = int(random.integers(conditions.rooms.count))
    level = options.draw_level(random)
    heard = target = speech
    if in_room:
        whole, early = conditions.rooms.responses(number, rate)
        heard, target = reverberate(speech, whole), reverberate(speech, early)
    try:
        made = conditions.noises[kind].make(len(speech), rate, random, voices)
        noisy, gain = MIXINGS[options.style](heard, made, ratio, rate, level)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    return Pair(name, noisy, (target * np.float32(gain)).astype(np.float32), kind, ratio, speaker)
