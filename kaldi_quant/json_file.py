"""JSON that users hand over: an object in a file, whose values are taken one by one and are of their kinds."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from kaldi_quant.errors import DataError, FormatError

_Value = TypeVar("_Value")

# Python's integers have no end, and other numbers cannot follow them there.
_LARGEST = 2**63 - 1


def read_object(path: Path, exact: bool = False) -> JsonObject:
    """The object that a file holds; numbers that JSON does not have (NaN, Infinity) are null.

    Args:
        path: the file.
        exact: such numbers stay what they are, for the caller to refuse, and a key that stands twice is refused.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: it is not JSON, or no object.
    """
    hooks: dict[str, Any] = {"parse_float": _finite, "parse_constant": _finite}
    if exact:
        hooks = {"object_pairs_hook": _without_twins}
    try:
        content = json.loads(path.read_text("utf-8"), **hooks)
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise FormatError(str(path), None, f"cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise FormatError(str(path), None, f"expected an object, found {_shown(content)}")
    return JsonObject(content, path, "")


def read_result(argument: str, name: str, number: int, verb: str) -> JsonObject:
    """The object that a verb wrote.

    Args:
        argument: its file, or the folder that holds it.
        name: of the file in that folder.
        number: of the format.
        verb: that writes such files.

    Raises:
        DataError: there is no such file.
        FormatError: it is not JSON, no object, or of another format.
    """
    path = Path(argument) / name if Path(argument).is_dir() else Path(argument)
    if not path.is_file():
        raise DataError(f"{path} does not exist: give the {name} that kaldi-quant {verb} wrote, or its folder")
    found = read_object(path)
    found.expect_format(number)
    return found


@dataclass(frozen=True)
class JsonObject:
    """An object of a file.

    Args:
        content: its keys and values.
        path: the file.
        prefix: where in the file it stands, for messages: ``layers[3].``.

    Every method raises FormatError, which names the file and the key, where a value is missing or of another kind.
    """

    content: dict[str, Any]
    path: Path
    prefix: str

    def maybe(self, get: Callable[[str], _Value], key: str) -> _Value | None:
        """What ``get``, a method of this object, gives for a key; None where the key is absent or null."""
        return get(key) if self.content.get(key) is not None else None

    def of_kind(self, key: str, kind: type[_Value], expected: str) -> _Value:
        """A value of a kind, which is called ``expected``."""
        value = self.content.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            self.refuse(key, expected)
        return value

    def text(self, key: str) -> str:
        """A string."""
        return self.of_kind(key, str, "a text")

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.content.get(key)
        if not isinstance(value, bool):
            self.refuse(key, "true or false")
        return value

    def whole(self, key: str) -> int:
        """A whole number from 0 to the largest of 64 bits."""
        value = self.of_kind(key, int, "a whole number")
        if value < 0:
            self.refuse(key, "a whole number of 0 or more")
        if value > _LARGEST:
            self.refuse(key, "a whole number of a usual size")
        return value

    def real(self, key: str) -> float:
        """A number."""
        value: Any = self.content.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(key, "a number")
        try:
            return float(value)
        except OverflowError:
            self.refuse(key, "a number of a usual size")

    def number(self, key: str) -> float:
        """A number of 0 or more."""
        value = self.real(key)
        if value < 0:
            self.refuse(key, "a number of 0 or more")
        return value

    def dict_of(self, key: str, expected: str = "an object") -> dict[str, Any]:
        """An object of values of any kind."""
        return self.of_kind(key, dict, expected)

    def inner(self, key: str) -> JsonObject:
        """An object whose values are to be taken."""
        return JsonObject(self.dict_of(key), self.path, f"{self.prefix}{key}.")

    def list_of(self, key: str, kind: type[_Value], expected: str) -> list[_Value]:
        """A list whose members are of a kind; ``expected`` describes the list."""
        found = self.of_kind(key, list, "a list")
        if not all(isinstance(member, kind) and not isinstance(member, bool) for member in found):
            self.refuse(key, expected)
        return found

    def objects(self, key: str) -> list[JsonObject]:
        """A list of objects."""
        return [self._member(key, number, found) for number, found in enumerate(self.of_kind(key, list, "a list"))]

    def _member(self, key: str, number: int, content: object) -> JsonObject:
        where = f"{self.prefix}{key}[{number}]"
        if not isinstance(content, dict):
            raise FormatError(str(self.path), None, f"{where}: expected an object, found {_shown(content)}")
        return JsonObject(content, self.path, f"{where}.")

    def expect_format(self, number: int) -> None:
        """Refuses a file of another format."""
        if self.whole("format") != number:
            raise FormatError(str(self.path), None, f"expected format {number}, found {_shown(self.content['format'])}")

    def expect_keys(self, known: Collection[str]) -> None:
        """Refuses keys that nobody reads, so that a misspelt one is not taken for one that is absent."""
        unknown = next((key for key in self.content if key not in known), None)
        if unknown is not None:
            where, expected = f"{self.prefix}{_key(unknown)}", ", ".join(known)
            raise FormatError(str(self.path), None, f"{where}: unknown key, expected one of {expected}")

    def refuse(self, key: str, expected: str) -> NoReturn:
        """Says what a key should have been."""
        found = _shown(self.content[key]) if key in self.content else "no such key"
        raise FormatError(str(self.path), None, f"{self.prefix}{_key(key)}: expected {expected}, found {found}")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twin = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f"the key {json.dumps(twin)} stands twice in one object")
    return found


def _finite(number: str) -> float | None:
    """A layer without any noise has an infinite ratio: no point of a plot, and no number of JSON."""
    value = float(number)
    return value if math.isfinite(value) else None


def _key(key: str) -> str:
    """A key on one line, whatever it holds."""
    return key if key.isprintable() else json.dumps(key)


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
