"""What a recogniser found, as the JSON texts that Vosk gives.

Source: ``MbrResult``, ``NbestResult`` and ``PartialResult`` in Vosk's ``src/recognizer.cc``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kaldi_quant.decode.alternatives import Alternative
from kaldi_quant.decode.minimum_bayes_risk import Word
from kaldi_quant.units import Seconds

_DIGITS = 6


class Results:
    """Makes texts of words.

    Args:
        words: the symbol table, word by number.
        begin: when the utterance's first frame was.
        frame: how long a frame of the network's output is.
    """

    def __init__(self, words: Mapping[int, str], begin: Seconds, frame: Seconds) -> None:
        self._words, self._begin, self._frame = words, begin, frame

    def best(self, words: Sequence[Word], with_times: bool) -> str:
        """The keys ``text`` and, with times, ``result``."""
        found: dict[str, Any] = {"text": self._text([word.word for word in words])}
        if with_times and words:
            found["result"] = [self._entry(word) for word in words]
        return to_text(found)

    def partial(self, words: Sequence[int]) -> str:
        """The key ``partial``."""
        return to_text({"partial": self._text(words)})

    def partial_words(self, words: Sequence[Word]) -> str:
        """The keys ``partial`` and ``partial_result``."""
        found: dict[str, Any] = {"partial": self._text([word.word for word in words])}
        if words:
            found["partial_result"] = [self._entry(word) for word in words]
        return to_text(found)

    def alternatives(self, alternatives: Sequence[Alternative], with_times: bool) -> str:
        """The key ``alternatives``: of each ``text``, ``confidence`` and, with times, ``result``."""
        entries = []
        for alternative in alternatives:
            words = alternative.words
            entry: dict[str, Any] = {
                "text": self._text([word.word for word in words]),
                "confidence": round(alternative.confidence, _DIGITS),
            }
            if with_times and words:
                entry["result"] = [self._times(word) for word in words]
            entries.append(entry)
        return to_text({"alternatives": entries})

    def _text(self, words: Sequence[int]) -> str:
        return " ".join(self._words[word] for word in words)

    def _times(self, word: Word) -> dict[str, Any]:
        begin, end = (round(self._begin + frame * self._frame, _DIGITS) for frame in (word.begin, word.end))
        return {"word": self._words[word.word], "start": begin, "end": end}

    def _entry(self, word: Word) -> dict[str, Any]:
        return {**self._times(word), "conf": round(word.confidence, _DIGITS)}


def nothing(alternatives: int) -> str:
    """The text of no words, where so many alternatives are wanted (0 for none)."""
    found: dict[str, Any] = {"text": ""}
    return to_text({"alternatives": [{**found, "confidence": 1.0}]} if alternatives else found)


def to_text(found: Mapping[str, Any]) -> str:
    """A JSON text, its keys in order."""
    return json.dumps(found, ensure_ascii=False, indent=2, sort_keys=True)
