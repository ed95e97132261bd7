"""How much frames count for i-vectors: those of silence, as far as the search knows them, hardly at all.

Source: ``OnlineSilenceWeighting`` in ``src/online2/online-ivector-feature.cc``, with the weight that Vosk's
``src/model.cc`` sets.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import numpy as np

from kaldi_quant.kaldi.transition_model import TransitionModel
from kaldi_quant.units import Frames

SILENCE_WEIGHT = 1e-3
# Frames of the search, before the last one that had a weight, whose weights may still change.
_CHANGING = 100


class SilenceWeighting:
    """The weights of an utterance's frames while the search goes on.

    Args:
        transitions: the transition model.
        silence: phones of silence.
        subsampling: frames of features for one of the search.
        first: the frame of features with which the utterance begins.
        weight: of silence.
    """

    def __init__(
        self,
        transitions: TransitionModel,
        silence: Set[int],
        subsampling: int,
        first: Frames = 0,
        weight: float = SILENCE_WEIGHT,
    ) -> None:
        is_silence = np.isin(transitions.transition_id_to_phone, sorted(silence))
        self._of_transition_id = np.where(is_silence, weight, 1.0)
        self._subsampling, self._first, self._weight = subsampling, first, weight
        self._given = np.zeros(0)

    def changes(self, transition_ids: Sequence[int], frames_ready: Frames) -> dict[Frames, float]:
        """What the weights of frames change by; they were 0 before the first call.

        Args:
            transition_ids: of the best path so far.
            frames_ready: frames of features that are there, counted as ``first`` is.

        Returns:
            By frame of features, for those whose weight changes.
        """
        decoded = len(transition_ids)
        begin = max(0, max(len(self._given), decoded) - _CHANGING)
        count = max(-(-(frames_ready - self._first) // self._subsampling), decoded, len(self._given))
        given = np.zeros(count)
        given[: len(self._given)] = self._given
        weights = given.copy()
        if decoded > begin:
            weights[begin:decoded] = self._of_transition_id[np.array(transition_ids[begin:], np.int64)]
            # What comes after the best path is taken for what it ends with.
            weights[decoded:] = weights[decoded - 1]
        else:
            weights[begin:] = given[begin - 1] if begin else self._weight
        self._given = weights
        return {
            self._first + frame * self._subsampling + part: float(weights[frame] - given[frame])
            for frame in (begin + np.flatnonzero(weights[begin:] != given[begin:])).tolist()
            for part in range(self._subsampling)
        }
