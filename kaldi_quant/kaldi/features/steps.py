"""What is done to the features of a table, one step after the other: each takes utterances and gives utterances.

An utterance that a step cannot use is reported and left out, as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.features.cmvn import CmvnOptions, apply_cmvn
from kaldi_quant.kaldi.features.matrices import MatrixTable
from kaldi_quant.kaldi.features.online_cmvn import OnlineCmvnOptions, apply_online_cmvn, with_utterance
from kaldi_quant.kaldi.features.splice import transform
from kaldi_quant.kaldi.tables import OnBad

#: (name, features) pairs, features: (frames, dim) float32.
Utterances = Iterable[tuple[str, np.ndarray]]


class Step(Protocol):
    """Changes the features of utterances."""

    def __call__(self, utterances: Utterances, on_bad: OnBad | None) -> Iterator[tuple[str, np.ndarray]]:
        """Gives the utterances with their new features."""


@dataclass(frozen=True)
class EachUtterance:
    """A step that looks at one utterance at a time.

    Args:
        change: an utterance's name and features to its new features.
    """

    change: Callable[[str, np.ndarray], np.ndarray]

    def __call__(self, utterances: Utterances, on_bad: OnBad | None) -> Iterator[tuple[str, np.ndarray]]:
        """Gives the utterances with their new features."""
        for utterance, feats in utterances:
            try:
                # What becomes of an empty matrix is for the network to say.
                with np.errstate(all="ignore"):
                    changed = self.change(utterance, feats) if feats.size else feats
                _check_finite(feats, changed)
            except DataError as error:
                report(utterance, error, on_bad)
                continue
            yield utterance, changed


@dataclass(frozen=True)
class BySpeaker:
    """The matrix that a table holds for an utterance, or for its speaker.

    Args:
        table: of the matrices; one matrix alone is of all.
        speaker_of: utterance → speaker; None where the table's keys are utterances.
        source: where that stands, for messages.
    """

    table: MatrixTable | np.ndarray
    speaker_of: Mapping[str, str] | None = None
    source: str = ""

    def get(self, utterance: str) -> np.ndarray:
        """The matrix of an utterance.

        Raises:
            DataError: its speaker is unknown, or has none.
        """
        if isinstance(self.table, np.ndarray):
            return self.table
        if self.speaker_of is None:
            return self.table.get(utterance)
        if utterance not in self.speaker_of:
            raise DataError(f"{self.source} does not tell its speaker")
        return self.table.get(self.speaker_of[utterance])


def cmvn_step(options: CmvnOptions, stats: BySpeaker) -> Step:
    """Normalises by statistics of each speaker, or of each utterance."""
    return EachUtterance(lambda utterance, feats: apply_cmvn(feats, stats.get(utterance), options))


def transform_step(matrices: BySpeaker) -> Step:
    """Multiplies by a matrix of each speaker, of each utterance, or of all."""
    return EachUtterance(lambda utterance, feats: transform(feats, matrices.get(utterance)))


class OnlineCmvnStep:
    """Normalises online: what a speaker said before counts, in the order of ``spk2utt``.

    An utterance that comes before one that the speaker said earlier waits for it; what an utterance whose turn has not
    come waits for need not exist.

    Args:
        options: what is done.
        global_stats: (2, dim + 1) float64, of the training data.
        speakers: speaker → utterances.
        source: where that stands, for messages.
    """

    def __init__(
        self, options: OnlineCmvnOptions, global_stats: np.ndarray, speakers: Mapping[str, list[str]], source: str
    ) -> None:
        self.options, self.global_stats, self.source = options, global_stats, source
        self.speakers = speakers
        self.speaker_of = {utterance: speaker for speaker, names in speakers.items() for utterance in names}

    def __call__(self, utterances: Utterances, on_bad: OnBad | None) -> Iterator[tuple[str, np.ndarray]]:
        """Gives the utterances with their new features, each speaker's in the order in which they were spoken."""
        speakers: dict[str, _Speaker] = {}
        for utterance, feats in utterances:
            name = self.speaker_of.get(utterance)
            if name is None:
                report(utterance, DataError(f"{self.source} does not tell its speaker"), on_bad)
                continue
            speaker = speakers.setdefault(name, _Speaker(self.speakers[name]))
            speaker.waiting[utterance] = feats
            yield from self._normalised(speaker, speaker.ready(), on_bad)
        for speaker in speakers.values():
            yield from self._normalised(speaker, speaker.rest(), on_bad)

    def _normalised(
        self, speaker: _Speaker, utterances: Utterances, on_bad: OnBad | None
    ) -> Iterator[tuple[str, np.ndarray]]:
        for utterance, feats in utterances:
            try:
                changed = feats
                if feats.size:
                    with np.errstate(all="ignore"):
                        changed = apply_online_cmvn(feats, self.global_stats, speaker.stats, self.options)
                    _check_finite(feats, changed)
                    speaker.stats = with_utterance(speaker.stats, feats)
            except DataError as error:
                report(utterance, error, on_bad)
                continue
            yield utterance, changed


class _Speaker:
    """What a speaker said so far.

    Attributes:
        stats: (2, dim + 1) float64, of what was normalised.
        waiting: features whose turn has not come, by utterance.
    """

    def __init__(self, order: list[str]) -> None:
        self.stats: np.ndarray | None = None
        self.waiting: dict[str, np.ndarray] = {}
        self._order, self._next = order, 0

    def ready(self) -> Iterator[tuple[str, np.ndarray]]:
        """Takes the utterances whose turn has come."""
        while self._next < len(self._order) and self._order[self._next] in self.waiting:
            utterance = self._order[self._next]
            self._next += 1
            yield utterance, self.waiting.pop(utterance)

    def rest(self) -> Iterator[tuple[str, np.ndarray]]:
        """Takes all that wait, at the end: what they wait for does not come any more."""
        for utterance in self._order[self._next :]:
            if utterance in self.waiting:
                yield utterance, self.waiting.pop(utterance)


def _check_finite(feats: np.ndarray, changed: np.ndarray) -> None:
    """Raises DataError where numbers have become something else."""
    if np.isfinite(feats).all() and not np.isfinite(changed).all():
        raise DataError("statistics or transforms turn its features into numbers that are not finite")


def report(utterance: str, error: DataError, on_bad: OnBad | None) -> None:
    """Leaves an utterance out; without ``on_bad`` it is an error."""
    named = DataError(f"utterance {utterance}: {error}")
    if on_bad is None:
        raise named from error
    on_bad(utterance, named)
