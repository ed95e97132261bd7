"""``section.key=value`` on a command line, as Hydra has it, applied to what was read from a YAML file.

``key=value`` sets, ``+key=value`` adds a key that is not there yet, ``++key=value`` does either, ``~key`` removes.
Values are those of Hydra's grammar: numbers, booleans, ``null``, words, quoted texts, ``[lists]``, ``{keys: values}``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

from kaldi_quant.errors import UsageError

_FORM = re.compile(r"(?P<how>\+\+|\+|~|)(?P<key>[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*)(=(?P<value>.*))?", re.DOTALL)
_EXAMPLE = "expected section.key=value, such as training.epochs=3"
# 1e-4 is a number of Hydra, and a text of YAML 1.1.
_REAL = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")


def overridden(content: dict[str, Any], words: Iterable[str]) -> dict[str, Any]:
    """The content of a file with some values changed; the given one stays as it is.

    Args:
        content: keys and values, sections within.
        words: of the command line, applied in order.

    Raises:
        UsageError: a word is no override, or cannot be applied.

    Example:
        >>> overridden({"training": {"epochs": 100}}, ["training.epochs=3", "+training.loss=wave_snr"])
        {'training': {'epochs': 3, 'loss': 'wave_snr'}}
    """
    found = dict(content)
    for word in words:
        form = _FORM.fullmatch(word)
        if form is None or (form["value"] is None) != (form["how"] == "~"):
            raise UsageError(f"{word!r} is no change of the configuration: {_EXAMPLE}, or ~section.key to remove a key")
        *sections, key = form["key"].split(".")
        inner = _section(found, sections, word)
        if form["how"] == "~":
            if key not in inner:
                raise UsageError(f"{word!r}: the configuration has no {form['key']} that could be removed")
            del inner[key]
            continue
        if form["how"] == "+" and inner.get(key) is not None:
            raise UsageError(f"{word!r}: {form['key']} is there already: write {word.removeprefix('+')} to change it")
        inner[key] = read_value(form["value"], word)
    return found


def _section(content: dict[str, Any], sections: list[str], word: str) -> dict[str, Any]:
    """The section, copied into its place; one that is missing or empty is made."""
    for name in sections:
        inner = content.get(name)
        if inner is not None and not isinstance(inner, dict):
            raise UsageError(f"{word!r}: {name} is no section, but {inner!r}")
        content[name] = content = dict(inner or {})
    return content


def read_value(text: str, where: str) -> Any:
    """A value of Hydra's grammar.

    Args:
        text: of the value.
        where: it stands, for messages.

    Raises:
        UsageError: it is none.

    Example:
        >>> read_value("{lr:1e-3,betas:[0.9,0.99]}", "")
        {'lr': 0.001, 'betas': [0.9, 0.99]}
    """
    reader = _Values(text, where)
    found = reader.value("")
    if reader.place != len(text):
        reader.refuse()
    return found


class _Values:
    """Reads values from a text, one after the other."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where, self.place = text, where, 0

    def refuse(self) -> None:
        raise UsageError(f"{self.where!r}: the value cannot be read from {self.text[self.place :]!r} on")

    def value(self, ends: str) -> Any:
        """Up to one of the characters that end it."""
        self._blanks()
        begin = self.text[self.place : self.place + 1]
        if begin and begin in "[{":
            found: Any = self._list() if begin == "[" else self._keys()
        elif begin and begin in "'\"":
            found = self._quoted(begin)
        else:
            return _primitive(self._up_to(ends))
        self._blanks()
        return found

    def _list(self) -> list[Any]:
        found = []
        for _ in self._parts("]"):
            found.append(self.value(",]"))
        return found

    def _keys(self) -> dict[str, Any]:
        found = {}
        for _ in self._parts("}"):
            self._blanks()
            begin = self.text[self.place : self.place + 1]
            key = self._quoted(begin) if begin and begin in "'\"" else self._up_to(":,}").strip()
            self._blanks()
            if self.text[self.place : self.place + 1] != ":":
                self.refuse()
            self.place += 1
            found[key] = self.value(",}")
        return found

    def _parts(self, end: str) -> Iterable[None]:
        """Once for each part between brackets."""
        self.place += 1
        self._blanks()
        while self.text[self.place : self.place + 1] != end:
            yield None
            if self.text[self.place : self.place + 1] == ",":
                self.place += 1
            elif self.text[self.place : self.place + 1] != end:
                self.refuse()
        self.place += 1

    def _quoted(self, quote: str) -> str:
        end = self.text.find(quote, self.place + 1)
        while end > 0 and self.text[end - 1] == "\\":
            end = self.text.find(quote, end + 1)
        if end < 0:
            self.refuse()
        found = self.text[self.place + 1 : end].replace("\\" + quote, quote)
        self.place = end + 1
        return found

    def _up_to(self, ends: str) -> str:
        begin = self.place
        while self.place < len(self.text) and self.text[self.place] not in ends:
            # A variable ends where its brace does.
            end = self.text.find("}", self.place) if self.text.startswith("${", self.place) else -1
            self.place = end + 1 if end >= 0 else self.place + 1
        return self.text[begin : self.place]

    def _blanks(self) -> None:
        while self.text[self.place : self.place + 1].isspace():
            self.place += 1


def _primitive(text: str) -> Any:
    text = text.strip()
    if _REAL.fullmatch(text):
        return float(text)
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return found if found is None or isinstance(found, bool | int | float) else text
