"""What goes wrong, per utterance, per speaker and per word: the texts that Kaldi's scoring leaves in ``wer_details``.

Source: ``utils/scoring/wer_per_utt_details.pl``, ``wer_per_spk_details.pl`` and ``wer_ops_details.pl`` of Kaldi's
recipes, ``src/bin/align-text.cc``, ``src/util/edit-distance-inl.h``.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from kaldi_quant.decode.wer import Transcripts
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.text import encode

NO_WORD = "***"  # stands beside an inserted or deleted word
_SPEAKER_WIDTH, _COUNT_WIDTH = 15, 10
_WIDEST_WORD = 16
_COLUMNS = ("#SENT", "#WORD", "Corr", "Sub", "Ins", "Del", "Err", "S.Err")
_OPERATION_NAMES = {"C": "correct", "I": "insertion", "D": "deletion", "S": "substitution"}


@dataclass(frozen=True)
class AlignedUtterance:
    """An utterance's reference and hypothesis, word beside word; NO_WORD stands where one has none."""

    utterance: str
    pairs: list[tuple[str, str]]

    @property
    def operations(self) -> list[str]:
        """C, I, D or S for each pair."""
        return [_operation(reference, hypothesis) for reference, hypothesis in self.pairs]


def _operation(reference: str, hypothesis: str) -> str:
    if hypothesis == NO_WORD:
        return "D"
    if reference == NO_WORD:
        return "I"
    return "C" if reference == hypothesis else "S"


def align(references: Transcripts, hypotheses: Transcripts) -> list[AlignedUtterance]:
    """Aligns every reference that has a hypothesis, in the references' order.

    Raises:
        DataError: a transcript holds NO_WORD.
    """
    aligned = []
    for utterance, reference in references.items():
        if utterance not in hypotheses:
            continue
        if NO_WORD in reference or NO_WORD in hypotheses[utterance]:
            raise DataError(f"utterance {utterance}: the word {NO_WORD} cannot be scored: it marks gaps in alignments")
        aligned.append(AlignedUtterance(utterance, _align_words(reference, hypotheses[utterance])))
    return aligned


def _align_words(reference: list[str], hypothesis: list[str]) -> list[tuple[str, str]]:
    """The best alignment; from the end on, two words beside each other win over a deletion, and that over an insertion.

    kaldialign decides otherwise between equally good alignments than ``LevenshteinAlignment``.
    """
    costs = _edit_costs(reference, hypothesis)
    row, column = len(reference), len(hypothesis)
    pairs = []
    while row or column:
        differ = row > 0 and column > 0 and reference[row - 1] != hypothesis[column - 1]
        if row and column and costs[row, column] == costs[row - 1, column - 1] + differ:
            row, column = row - 1, column - 1
            pairs.append((reference[row], hypothesis[column]))
        elif row and costs[row, column] == costs[row - 1, column] + 1:
            row -= 1
            pairs.append((reference[row], NO_WORD))
        else:
            column -= 1
            pairs.append((NO_WORD, hypothesis[column]))
    return pairs[::-1]


def _edit_costs(reference: list[str], hypothesis: list[str]) -> np.ndarray:
    """(reference + 1, hypothesis + 1): the edit distance between the first words of one and the first of the other."""
    columns = np.arange(len(hypothesis) + 1)
    words = np.array(hypothesis, object)
    costs = np.empty((len(reference) + 1, len(columns)), np.int64)
    costs[0] = columns
    for row, word in enumerate(reference, 1):
        without_insertions = costs[row - 1] + 1
        without_insertions[1:] = np.minimum(without_insertions[1:], costs[row - 1, :-1] + (words != word))
        # An insertion costs 1 for each column to the left that the path comes from.
        costs[row] = np.minimum.accumulate(without_insertions - columns) + columns
    return costs


def per_utterance(aligned: list[AlignedUtterance]) -> str:
    """Four lines for each utterance: reference, hypothesis, operations, and how many of each."""
    lines = []
    for item in aligned:
        operations = item.operations
        columns = [(*pair, operation) for pair, operation in zip(item.pairs, operations, strict=True)]
        widths = [max(map(len, column)) for column in columns]
        rows = [
            "  ".join(_center(text, width) for text, width in zip(row, widths, strict=True))
            for row in zip(*columns, strict=True)
        ] or ["", "", ""]
        for name, row in zip(("ref ", "hyp ", "op  "), rows, strict=True):
            lines.append(f"{item.utterance} {name} {row}")
        lines.append(f"{item.utterance} #csid " + " ".join(str(operations.count(operation)) for operation in "CSID"))
    return "".join(line + "\n" for line in lines)


def _center(text: str, width: int) -> str:
    right = (width - len(text)) // 2
    return " " * (width - len(text) - right) + text + " " * right


def per_speaker(aligned: list[AlignedUtterance], speaker_of: dict[str, str]) -> str:
    """A table with two lines for each speaker, counts and percentages, and their sum.

    Raises:
        DataError: an utterance has no speaker.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for item in aligned:
        if item.utterance not in speaker_of:
            raise DataError(f"utterance {item.utterance} is not in utt2spk")
        here = Counter(item.operations)
        wrong = here["S"] + here["I"] + here["D"] > 0
        counts[speaker_of[item.utterance]] += here + Counter(sentences=1, wrong=int(wrong))
    width = max([_SPEAKER_WIDTH, *(len(speaker) for speaker in speaker_of.values())])
    lines = [f"{'SPEAKER':<{width}} id  " + " ".join(f"{column:>{_COUNT_WIDTH}}" for column in _COLUMNS)]
    total: Counter[str] = Counter()
    for speaker in sorted(counts, key=encode):
        lines += _speaker_lines(speaker, counts[speaker], width)
        total += counts[speaker]
    return "".join(line + "\n" for line in [*lines, *_speaker_lines("SUM", total, width)])


def _speaker_lines(speaker: str, count: Counter[str], width: int) -> list[str]:
    words = count["C"] + count["S"] + count["D"]
    errors = count["S"] + count["D"] + count["I"]
    values = [count["C"], count["S"], count["I"], count["D"], errors]
    integers = [count["sentences"], words, *values, count["wrong"]]
    lines = [f"{speaker:<{width}} raw " + " ".join(f"{value:>{_COUNT_WIDTH}d}" for value in integers)]
    if words:
        percent = [100.0 * value / words for value in values] + [100.0 * count["wrong"] / count["sentences"]]
        first = " ".join(f"{value:>{_COUNT_WIDTH}d}" for value in integers[:2])
        lines.append(f"{speaker:<{width}} sys {first} " + " ".join(f"{value:>{_COUNT_WIDTH}.2f}" for value in percent))
    return lines


def operations(aligned: list[AlignedUtterance]) -> str:
    """One line for each pair of words: the operation, the two words, how often; the most frequent first."""
    counts = Counter(pair for item in aligned for pair in item.pairs)
    if not counts:
        return ""
    word_width = min(max(len(word) for pair in counts for word in pair), _WIDEST_WORD)
    count_width = max(len(str(count)) for count in counts.values())
    rows = []
    for (reference, hypothesis), count in counts.items():
        name = _OPERATION_NAMES[_operation(reference, hypothesis)]
        line = f"{name:<12}  {reference:>{word_width}}    {hypothesis:>{word_width}}    {count:>{count_width}d}"
        rows.append((name, -count, encode(reference), encode(hypothesis), line))
    return "".join(f"{row[-1]}\n" for row in sorted(rows))
