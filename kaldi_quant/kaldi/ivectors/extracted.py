"""I-vectors that are extracted from features while these are read, and kept until they are asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.ivectors.online import ivectors_of_utterance
from kaldi_quant.kaldi.ivectors.options import ExtractionInfo
from kaldi_quant.kaldi.tables import OnBad


class ExtractedIvectors:
    """The i-vectors of the utterances that were read so far; they wait in a file that vanishes with the process.

    Args:
        info: the extractor.
        speakers: of each utterance, where what is known of a speaker goes on from one utterance to the next; without,
            each utterance is for itself.
    """

    def __init__(self, info: ExtractionInfo, speakers: Mapping[str, str] | None = None) -> None:
        self._info, self._speakers = info, speakers or {}
        self._states: dict[str, Any] = {}
        # Where the rows of an utterance begin, and how many there are; the file is there as long as this object.
        self._places: dict[str, tuple[int, int]] = {}
        self._file = tempfile.TemporaryFile(prefix="kaldi-quant-")  # noqa: SIM115

    def hearing(
        self, utterances: Iterable[tuple[str, np.ndarray]], on_bad: OnBad | None = None
    ) -> Iterator[tuple[str, np.ndarray]]:
        """The same utterances, of each of which the i-vectors are there when it comes.

        Args:
            utterances: (name, features) pairs, features: (frames, dim) float32, not normalised.
            on_bad: is called for each utterance that has no i-vectors, which is then left out; None makes it an error.

        Raises:
            DataError: an utterance has no i-vectors.
        """
        for utterance, feats in utterances:
            speaker = self._speakers.get(utterance)
            try:
                rows, state = ivectors_of_utterance(self._info, feats, self._states.get(speaker) if speaker else None)
            except DataError as error:
                if on_bad is None:
                    raise DataError(f"utterance {utterance}: {error}") from error
                on_bad(utterance, error)
                continue
            if speaker:
                self._states[speaker] = state
            self._places[utterance] = self._file.seek(0, 2), len(rows)
            self._file.write(np.ascontiguousarray(rows, np.float32).data)
            yield utterance, feats

    def find(self, utterance: str) -> np.ndarray | None:
        """(rows, ivector dim) float32 of an utterance that was read; None of others."""
        if utterance not in self._places:
            return None
        begin, rows = self._places[utterance]
        self._file.seek(begin)
        dim = self._info.extractor.ivector_dim
        return np.frombuffer(self._file.read(4 * rows * dim), np.float32).reshape(rows, dim)
