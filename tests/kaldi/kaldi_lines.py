"""Lines that Kaldi prints compared with this project's: words to the letter, numbers to rounding in float32."""

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"(-?(?:\d+\.?\d*(?:e[+-]?\d+)?|nan|inf))")
# Standard deviations of numbers that are all alike are rounding alone, in Kaldi's floats even of negative squares.
_STDDEV = re.compile(r"stddev=\S+?\]")
# Sums of many floats of either sign.
_ROUNDING = 1e-6


def assert_kaldis(found: Sequence[str], kaldis: Sequence[str]) -> None:
    """Asserts that lines are Kaldi's, and almost all of them to the letter."""
    assert len(found) == len(kaldis)
    for ours, theirs in zip(found, kaldis, strict=True):
        (words, numbers), (kaldi_words, kaldi_numbers) = _apart(ours), _apart(theirs)
        assert words == kaldi_words
        for number, kaldi_number in zip(numbers, kaldi_numbers, strict=True):
            allowed = _ROUNDING + 1.01 * _last_place(kaldi_number)
            assert number == kaldi_number or abs(float(number) - float(kaldi_number)) <= allowed, (ours, theirs)
    different = sum(ours != theirs for ours, theirs in zip(found, kaldis, strict=True))
    assert different <= 1 + 0.2 * len(kaldis)


def _last_place(number: str) -> float:
    """What one more in the last digit of a number would add."""
    digits, _, exponent = number.partition("e")
    return 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))


def _apart(line: str) -> tuple[list[str], list[str]]:
    parts = _NUMBER.split(_STDDEV.sub("stddev=]", line))
    return parts[0::2], parts[1::2]
