"""A recogniser with the methods of Vosk's: audio comes in, a text of JSON comes out.

Source: Vosk's ``src/recognizer.cc``, whose methods have the names that they have there.
"""

from __future__ import annotations

import logging
from enum import Enum, auto

import numpy as np

from kaldi_quant.decode.alternatives import alternatives_of
from kaldi_quant.decode.minimum_bayes_risk import words_of
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.kaldi.lattice import CompactLattice
from kaldi_quant.recogniser.model import Model
from kaldi_quant.recogniser.pipeline import Pipeline
from kaldi_quant.recogniser.results import Results, nothing
from kaldi_quant.recogniser.search import Search
from kaldi_quant.units import Seconds

_log = logging.getLogger(__name__)

_STEP: Seconds = 0.2
# Frames of the network's output after which all but the model begins anew when an utterance ends.
_MOST_FRAMES = 20000
_BYTES = 2


class _State(Enum):
    INITIALIZED = auto()
    RUNNING = auto()
    ENDPOINT = auto()
    FINALIZED = auto()


class Recognizer:
    """Turns a stream of audio into words.

    The audio is taken in steps of 0.2 s, so that in which pieces it comes does not matter. A stream is finished by
    ``FinalResult``; what comes then is another one.

    Args:
        model: the model, which recognisers share.
        rate: of the audio, in Hz.

    Raises:
        DataError: the rate is impossible, or the model's graph is another's.
        UsageError: the model's features need the whole utterance.

    Example:
        >>> recognizer = Recognizer(model, 16000)
        >>> for piece in pieces:
        ...     if recognizer.AcceptWaveform(piece):
        ...         print(recognizer.Result())
        >>> print(recognizer.FinalResult())
    """

    def __init__(self, model: Model, rate: float) -> None:
        if not 0 < rate < float("inf"):
            raise DataError(f"a sampling rate must be positive, found {rate}")
        self._model, self._rate = model, rate
        #: Samples of a step.
        self.step = max(int(rate * _STEP), 1)
        options = model.options
        self._frame: Seconds = model.mfcc_options.frame_shift / 1000 * options.frame_subsampling_factor
        self._silence = options.endpoint.silence()
        self._with_words = self._with_partial_words = False
        self._max_alternatives = 0
        self._pipeline = Pipeline(model, rate)
        self._search = self._new_search()
        self._state = _State.INITIALIZED
        # Frames of the network's output before this utterance, in this pipeline.
        self._offset = 0
        # Samples that wait for a step to be complete; those of this pipeline; those before it.
        self._waiting = np.zeros(0, np.float32)
        self._processed = self._before = 0

    def SetWords(self, enable: bool) -> None:
        """Whether results have the times of words, and without alternatives their confidences."""
        self._with_words = bool(enable)

    def SetPartialWords(self, enable: bool) -> None:
        """Whether partial results have times and confidences, for which the utterance is searched again each time."""
        self._with_partial_words = bool(enable)

    def SetMaxAlternatives(self, number: int) -> None:
        """How many alternatives results have; 0 for one text with the least expected errors.

        Raises:
            UsageError: it is negative.
        """
        if number < 0:
            raise UsageError(f"the number of alternatives must not be negative, found {number}")
        self._max_alternatives = int(number)

    def AcceptWaveform(self, data: bytes | bytearray | memoryview | np.ndarray) -> bool:
        """Takes the next audio.

        Args:
            data: one channel; bytes of 16-bit integers, low byte first, or an array (samples,) of 16-bit integers or
                of floats in their scale.

        Returns:
            Whether the utterance has ended, by the rules of the model's options: ``Result`` gives its words.

        Raises:
            DataError: the audio has another form, or values that are not finite; nothing of it is taken.
        """
        samples = _samples(data)
        if self._state in (_State.ENDPOINT, _State.FINALIZED):
            self._begin_utterance()
        self._state = _State.RUNNING
        self._waiting = np.concatenate([self._waiting, samples])
        whole = len(self._waiting) // self.step * self.step
        for begin in range(0, whole, self.step):
            self._process(self._waiting[begin : begin + self.step])
        self._waiting = self._waiting[whole:].copy()
        return self._has_ended()

    def Result(self) -> str:
        """Ends the utterance, and tells its words: the JSON text of Vosk's ``Result``."""
        if self._state is not _State.RUNNING:
            return nothing(self._max_alternatives)
        self._state = _State.ENDPOINT
        return self._result()

    def FinalResult(self) -> str:
        """Ends the stream, and tells the words of its last utterance."""
        if self._state is not _State.RUNNING:
            return nothing(self._max_alternatives)
        self._process(self._waiting)
        self._waiting = self._waiting[:0]
        self._search.accept(self._pipeline.finish(self._search.best_path().transition_ids))
        self._state = _State.FINALIZED
        return self._result()

    def PartialResult(self) -> str:
        """Tells the words so far of an utterance that goes on."""
        if self._state is not _State.RUNNING:
            return nothing(self._max_alternatives)
        if not self._with_partial_words:
            return self._results().partial(self._search.best_path().words)
        lattice = self._lattice(use_final_probs=False)
        model = self._model
        words = words_of(lattice, model.transitions, model.word_boundary, 1.0) if lattice else []
        return self._results().partial_words(words)

    def Reset(self) -> None:
        """Forgets the utterance; with the next audio another one begins."""
        self._state = _State.ENDPOINT

    def _process(self, samples: np.ndarray) -> None:
        self._search.accept(self._pipeline.accept(samples, self._search.best_path().transition_ids))
        self._processed += len(samples)

    def _begin_utterance(self) -> None:
        self._offset += self._search.frames
        if self._state is _State.FINALIZED or self._offset > _MOST_FRAMES:
            self._before += self._processed
            self._offset = self._processed = 0
            self._pipeline = Pipeline(self._model, self._rate)
        else:
            self._pipeline.begin_utterance(self._offset)
        self._search = self._new_search()

    def _new_search(self) -> Search:
        return Search(self._model.decoding_graph, self._model.options, self._silence)

    def _has_ended(self) -> bool:
        search = self._search
        if not search.frames:
            return False
        length, silence = (frames * self._frame for frames in (search.frames, search.trailing_silence()))
        return self._model.options.endpoint.has_ended(length, silence, search.relative_cost())

    def _lattice(self, use_final_probs: bool = True) -> CompactLattice | None:
        """The utterance's lattice; None where it has no frames or the search lost its way."""
        if not self._search.frames:
            return None
        try:
            return self._search.lattice(use_final_probs)
        except DataError as error:
            _log.warning("an utterance has no words: %s", error)
            return None

    def _results(self) -> Results:
        begin = self._before / self._rate + self._offset * self._frame
        return Results(self._model.words, begin, self._frame)

    def _result(self) -> str:
        lattice, number, model = self._lattice(), self._max_alternatives, self._model
        if lattice is None:
            return nothing(number)
        if not number:
            return self._results().best(words_of(lattice, model.transitions, model.word_boundary), self._with_words)
        found = alternatives_of(lattice, model.transitions, model.word_boundary, number)
        return self._results().alternatives(found, self._with_words)


def _samples(data: bytes | bytearray | memoryview | np.ndarray) -> np.ndarray:
    """(samples,) float32 in the scale of 16-bit integers."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        if memoryview(data).nbytes % _BYTES:
            raise DataError(f"audio as bytes must be whole 16-bit samples, found {memoryview(data).nbytes} bytes")
        return np.frombuffer(data, "<i2").astype(np.float32)
    if not isinstance(data, np.ndarray):
        raise DataError(f"audio must be bytes of 16-bit samples or an array, found {type(data).__name__}")
    if data.ndim != 1 or not (data.dtype == np.int16 or np.issubdtype(data.dtype, np.floating)):
        raise DataError(
            "audio as an array must have one channel, (samples,), of 16-bit integers or floats, found the shape "
            f"{data.shape} of {data.dtype}"
        )
    samples = data.astype(np.float32)
    if not np.isfinite(samples).all():
        raise DataError("the audio holds values that are not finite (NaN or infinity)")
    return samples
