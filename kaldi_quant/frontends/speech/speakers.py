"""Who speaks in a split, and what they say, one utterance behind the other."""

from __future__ import annotations

import numpy as np

from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.frontends.speech.speech import Speech


class Speakers:
    """The speakers of a split.

    Args:
        speech: of the split.
    """

    def __init__(self, speech: Speech) -> None:
        self.speech = speech
        #: Speaker → the places of what is said, in order.
        self.places: dict[str, list[int]] = {}
        for place, utterance in enumerate(speech.utterances):
            self.places.setdefault(utterance.speaker, []).append(place)

    def said(self, place: int, samples: int, begin: float = 0.0) -> Array:
        """What a speaker says from an utterance on, and behind it the next ones, each once.

        Args:
            place: of the utterance.
            samples: how many.
            begin: where in the utterance this begins, as a share, if enough is said behind.

        Returns:
            (samples,) float32; fewer where the speaker says less.
        """
        own = self.places[self.speech.utterances[place].speaker]
        at = own.index(place)
        waves, there = [], 0
        first = len(self.speech[place])
        for other in own[at:] + own[:at]:
            waves.append(self.speech[other])
            there += len(waves[-1])
            if there >= samples + first:
                break
        skipped = max(0, min(int(begin * first), there - samples))
        return np.concatenate(waves)[skipped : skipped + samples]
