"""Word error rates as Kaldi counts and prints them.

Source: ``src/bin/compute-wer.cc``, ``src/bin/compute-wer-bootci.cc``, ``src/util/edit-distance-inl.h``;
kaldialign counts with the same algorithm, and splits the errors as Kaldi does.
"""

import re
from dataclasses import dataclass

import kaldialign
import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.metrics.score import Score

Transcripts = dict[str, list[str]]

#: What ``WerResult.wer_line`` and Kaldi print: errors, words, insertions, deletions, substitutions.
WER_LINE = re.compile(r"%WER \S+ \[ (\d+) / (\d+), (\d+) ins, (\d+) del, (\d+) sub \]")


@dataclass(frozen=True)
class Edits:
    """The errors of one utterance or of many."""

    insertions: int = 0
    deletions: int = 0
    substitutions: int = 0

    @property
    def total(self) -> int:
        """All errors."""
        return self.insertions + self.deletions + self.substitutions

    def __add__(self, other: "Edits") -> "Edits":
        return Edits(
            self.insertions + other.insertions,
            self.deletions + other.deletions,
            self.substitutions + other.substitutions,
        )


@dataclass(frozen=True)
class WerResult:
    """What ``compute-wer --mode=present`` finds: utterances without a hypothesis are absent, not errors."""

    edits: Edits
    num_words: int
    wrong_sentences: int
    num_sentences: int
    absent_sentences: int

    @property
    def percent(self) -> float:
        """The word error rate in percent, in Kaldi's single precision."""
        return float(np.float32(100.0 * self.edits.total / self.num_words))

    def wer_line(self) -> str:
        """``%WER 14.54 [ 357 / 2456, 80 ins, 52 del, 225 sub ]``."""
        edits = self.edits
        counts = f"{edits.total} / {self.num_words}, {edits.insertions} ins, {edits.deletions} del"
        partial = " [PARTIAL]" if self.absent_sentences else ""
        return f"%WER {self.percent:.2f} [ {counts}, {edits.substitutions} sub ]{partial}"

    def text(self) -> str:
        """The three lines of ``compute-wer``."""
        sentences = f"{self.wrong_sentences} / {self.num_sentences}"
        return (
            f"{self.wer_line()}\n"
            f"%SER {100.0 * self.wrong_sentences / self.num_sentences:.2f} [ {sentences} ]\n"
            f"Scored {self.num_sentences} sentences, {self.absent_sentences} not present in hyp.\n"
        )


def count_edits(reference: list[str], hypothesis: list[str]) -> Edits:
    """The errors of one utterance, as ``LevenshteinEditDistance`` splits them."""
    counts = kaldialign.edit_distance(reference, hypothesis)
    return Edits(counts["ins"], counts["del"], counts["sub"])


def compute_wer(
    references: Transcripts, hypotheses: Transcripts, cache: dict[tuple[str, tuple[str, ...]], Edits] | None = None
) -> WerResult:
    """Scores hypotheses.

    Args:
        references: utterance → words.
        hypotheses: utterance → words.
        cache: remembers the errors of (utterance, hypothesis) between the points of a sweep.

    Raises:
        DataError: no utterance of the references has a hypothesis, or those that have hold no words.
    """
    cache = {} if cache is None else cache
    edits, words, wrong, sentences = Edits(), 0, 0, 0
    for utterance, reference in references.items():
        if utterance not in hypotheses:
            continue
        hypothesis = hypotheses[utterance]
        key = (utterance, tuple(hypothesis))
        if key not in cache:
            cache[key] = count_edits(reference, hypothesis)
        edits += cache[key]
        words += len(reference)
        wrong += reference != hypothesis
        sentences += 1
    if not words:
        raise DataError(
            f"nothing to score: {sentences} of {len(references)} reference utterances have a hypothesis, "
            f"and they contain no words ({len(hypotheses)} hypotheses; are the utterance names the same?)"
        )
    return WerResult(edits, words, wrong, sentences, len(references) - sentences)


def error_score(references: Transcripts, hypotheses: Transcripts, metric: Metric) -> Score:
    """The errors of each utterance that has a hypothesis, out of the words of its reference.

    Args:
        references: utterance → words.
        hypotheses: utterance → words.
        metric: what the rate is called.

    Raises:
        DataError: no utterance of the references has a hypothesis, or those that have hold no words.
    """
    scored = {utterance: words for utterance, words in references.items() if utterance in hypotheses}
    errors = {utterance: count_edits(words, hypotheses[utterance]).total for utterance, words in scored.items()}
    return Score(metric, errors, {utterance: len(words) for utterance, words in scored.items()})


def bootstrap_text(references: Transcripts, hypotheses: Transcripts) -> str:
    """The line of ``compute-wer-bootci``: the mean over 10000 resamplings and its 95 % interval.

    Source: M. Bisani and H. Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", 2004.
    """
    scored = [utterance for utterance in references if utterance in hypotheses]
    result = kaldialign.bootstrap_wer_ci(
        [references[utterance] for utterance in scored], [hypotheses[utterance] for utterance in scored]
    )
    low, high = 100 * result["ci95min"], 100 * result["ci95max"]
    return f"Set1: %WER {100 * result['wer']:.2f} 95% Conf Interval [ {low:.2f}, {high:.2f} ]\n"
