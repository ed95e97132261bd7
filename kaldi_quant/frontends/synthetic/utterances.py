"""Whole utterances of synthetic voices: of a length that is wanted, at the usual level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kaldi_quant.frontends.signals.level import active_rms, trim
from kaldi_quant.frontends.synthetic.programs import speak
from kaldi_quant.frontends.synthetic.voices import Speaker
from kaldi_quant.units import Hertz, Seconds

# Before the first word and behind the last.
_PAUSE: Seconds = 0.2
# The usual level of speech in tests of suppressors, dB below full scale (ITU-T P.56).
_DBFS = -26.0
# No sample is beyond it, of full scale.
_PEAK = 0.99


def sentences(choices: Sequence[Sequence[str]], random: np.random.Generator) -> list[str]:
    """All sentences that take one of the choices for each of their parts, each once, in random order.

    Example:
        >>> sentences([["the cat", "a dog"], ["sleeps"]], np.random.default_rng(0))
        ['A dog sleeps.', 'The cat sleeps.']
    """
    sizes = [len(choice) for choice in choices]
    found = []
    for place in random.permutation(int(np.prod(sizes))):
        indices = np.unravel_index(place, sizes)
        text = " ".join(choice[index] for choice, index in zip(choices, indices, strict=True))
        found.append(f"{text[0].upper()}{text[1:]}.")
    return found


def say_within(speaker: Speaker, text: str, rate: Hertz, shortest: Seconds, longest: Seconds) -> np.ndarray:
    """Has a text spoken in about a given time.

    Args:
        speaker: who speaks.
        text: what.
        rate: of the result, in Hz.
        shortest: the voice is slowed down to last so long.
        longest: it hurries to be no longer, pauses at both ends included.

    Returns:
        (n,) float32 at the usual level of speech, with a pause at both ends.

    Raises:
        DataError: the program fails, or says nothing.
    """
    speech = trim(speak(speaker, text, rate))
    tempo = len(speech) / rate / np.clip(len(speech) / rate, shortest, longest - 2 * _PAUSE)
    if tempo != 1:
        speech = trim(speak(speaker, text, rate, 1.05 * tempo))
    pause = np.zeros(round(_PAUSE * rate), np.float32)
    gain = min(10 ** (_DBFS / 20) / active_rms(speech, rate), _PEAK / float(np.abs(speech).max()))
    return np.concatenate([pause, speech * gain, pause]).astype(np.float32)
