"""What the voices say: sentences, no phrase of which is said in another split, and spelled letters and digits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kaldi_quant.frontends.synthetic.utterances import sentences

# Of each part so many phrases are said in training and in development; the others in the test.
_TRAIN, _DEV = 12, 3

_PARTS = (
    "the old farmer, my youngest brother, every visitor, that clever girl, the new manager, our teacher, a thin man, "
    "the first runner, her aunt, a group of sailors, the judge, some children, "
    "the postman, his cousin, a few workers, "
    "the young doctor, my grandfather, a famous singer, their guests, the chief engineer",
    "bought, opened, noticed, cleaned, dropped, moved, looked for, asked about, threw away, measured, lost, chose, "
    "wrapped, wanted, remembered, "
    "fixed, covered, brought back, pulled, thought of",
    "a heavy wooden box, the yellow umbrella, three cups of tea, this long letter, the garden gate, a piece of cheese, "
    "fresh vegetables, the cheap guitar, an orange jacket, both tickets, the missing page, several photographs, "
    "a bottle of juice, the kitchen knife, two empty baskets, "
    "the rusty bicycle, a glass jar, five shiny coins, the green curtain, his favourite shoes",
    "on the way to the station, without a word, before lunch, at the end of the street, during the long winter, "
    "next to the church, as quickly as possible, after the show, in the dark, for no good reason, under the bridge, "
    "while it was snowing, "
    "between two buildings, late last night, beside the road, "
    "early in the morning, across the valley, with a smile, when nobody watched, on the second floor",
)
# The words of egs/alphadigits.
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
#: What is spelled: letters, and digits as words.
SPELLED = (*_LETTERS, *_DIGITS)
_SHORTEST, _LONGEST = 4, 7


def sentences_of(split: str, random: np.random.Generator) -> Iterator[str]:
    """Sentences of a split, each once, in random order."""
    places = {"train": slice(_TRAIN), "dev": slice(_TRAIN, _TRAIN + _DEV), "test": slice(_TRAIN + _DEV, None)}
    yield from sentences([part.split(", ")[places[split]] for part in _PARTS], random)


def spelled(random: np.random.Generator) -> tuple[str, ...]:
    """Four to seven letters and digits, as words: ``("b", "three", "x", "a")``."""
    return tuple(
        SPELLED[place] for place in random.integers(len(SPELLED), size=random.integers(_SHORTEST, _LONGEST + 1))
    )


def as_read(words: tuple[str, ...]) -> str:
    """Spelled words as programs are to read them: with capital letters, lest ``a`` be read as an article.

    Example:
        >>> as_read(("b", "three", "a"))
        'B, three, A.'
    """
    return ", ".join(word.upper() if len(word) == 1 else word for word in words) + "."
