"""Lines of Kaldi's config files: a first word, then ``key=value`` pairs.

Source: ``ReadConfigLines`` and ``ConfigLine`` in ``src/util/text-utils.cc``. The nodes of a network are such lines, and
so are edits of a network.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from kaldi_quant.kaldi.text import SPACE, split_words, strip, to_integer, to_real

_NAME = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)


def is_valid_name(text: str) -> bool:
    """Whether a node or a component may have this name (``IsValidName``)."""
    return _NAME.fullmatch(text) is not None


def is_plain_value(text: str) -> bool:
    """Whether a value means the same in a line without quotation marks around it."""
    return not any(mark in text for mark in "=#") and text[:1] not in ("'", '"')


def read_config_lines(text: str) -> list[str]:
    """The lines of a config file without comments, indentation and lines of white space."""
    stripped = (strip(line.partition("#")[0]) for line in text.split("\n"))
    return [line for line in stripped if line]


@dataclass
class ConfigLine:
    """One line, taken apart.

    Args:
        first: the first word; empty where the line begins with a pair.
        values: by key; where a key is there twice, the first, as in Kaldi.
    """

    first: str
    values: dict[str, str]

    @classmethod
    def parse(cls, line: str) -> ConfigLine:
        """Takes a line apart.

        Raises:
            ValueError: one sentence that says what is wrong with it.
        """
        line = strip(line)
        word = next(iter(split_words(line)), "")
        first = word if "=" not in word else ""
        if first and not is_valid_name(first):
            raise ValueError(f"{first[:40]!r} cannot begin a line")
        values: dict[str, str] = {}
        rest = line[len(first) :].lstrip(SPACE)
        while rest:
            key, equals, after = rest.partition("=")
            if not equals:
                raise ValueError(f"expected key=value, found {rest[:40]!r}")
            if not is_valid_name(key):
                raise ValueError(f"{key[:40]!r} is no name of a value")
            value, rest = _value(after)
            values.setdefault(key, value)
        return cls(first, values)

    def take(self, key: str) -> str:
        """Takes the value of a key out.

        Raises:
            ValueError: there is none, or an empty one.
        """
        if not self.values.get(key):
            raise ValueError(f"{self.first} needs {key}=")
        return self.values.pop(key)

    def take_int(self, key: str, default: int | None = None) -> int:
        """Takes the value of a key out, an integer of 32 bits; without a default it must be there."""
        if default is not None and key not in self.values:
            return default
        text = self.take(key)
        try:
            return to_integer(text)
        except ValueError:
            raise ValueError(f"{key}={text[:40]} is no integer of 32 bits") from None

    def take_real(self, key: str, default: float | None = None) -> float:
        """Takes the value of a key out, a finite number; without a default it must be there."""
        if default is not None and key not in self.values:
            return default
        text = self.take(key)
        try:
            value = to_real(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"{key}={text[:40]} is no finite number")
        return value

    def take_bool(self, key: str, default: bool) -> bool:
        """Takes the value of a key out: as in Kaldi its first letter, t or f, decides."""
        if key not in self.values:
            return default
        text = self.take(key)
        if text[0] not in "tTfF":
            raise ValueError(f"{key}={text[:40]} is neither true nor false")
        return text[0] in "tT"

    def finish(self) -> None:
        """To be called when all values have been taken.

        Raises:
            ValueError: there are more.
        """
        if self.values:
            raise ValueError(f"{self.first} does not know {next(iter(self.values))[:40]}=")


def _value(text: str) -> tuple[str, str]:
    """The value that a text begins with, and what follows it.

    A value may be in quotes, single or double ones. Otherwise it may hold white space, and ends before the word that
    has the next equals sign.
    """
    if text[:1] in ("'", '"'):
        end = text.find(text[0], 1)
        if end < 0:
            raise ValueError(f"the quotation {text[:40]!r} has no end")
        return text[1:end], text[end + 1 :].lstrip(SPACE)
    equals = text.find("=")
    space = max(text.rfind(" ", 0, equals), text.rfind("\t", 0, equals)) if equals >= 0 else -1
    if space < 0:
        return text.rstrip(SPACE), ""
    return text[:space].rstrip(SPACE), text[space:].lstrip(SPACE)
