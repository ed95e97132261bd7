"""A JSON object of unknown origin, whose values are taken one by one and have the types that they should."""

from __future__ import annotations

from typing import Any, TypeVar

from kaldi_quant.errors import FormatError, UsageError
from kaldi_quant.quant.spec import QSpec

_LARGEST_GROUP = 1 << 24

Value = TypeVar("Value", int, str, bool, list, dict)

_TYPE_NAMES = {int: "an integer", str: "a string", bool: "true or false", list: "a list", dict: "an object"}


class Fields:
    """The keys and values of a JSON object.

    Args:
        path: the file that it stands in.
        where: what it describes, for messages.
        content: the object.

    Every method raises FormatError where the object is not as it should be.
    """

    def __init__(self, path: str, where: str, content: Any) -> None:
        self.path = path
        self.where = where
        if not isinstance(content, dict):
            raise FormatError(path, None, f"{where}: expected an object, found {_shown(content)}")
        self._left = dict(content)

    def take(self, name: str, kind: type[Value], default: Value | None = None) -> Value:
        """The value of a key; ``default`` where it is not there."""
        value = self._left.pop(name, default)
        if type(value) is not kind:
            found = "nothing" if value is None else _shown(value)
            raise FormatError(self.path, None, f"{self.where}: {name} should be {_TYPE_NAMES[kind]}, found {found}")
        return value

    def has(self, name: str) -> bool:
        """Whether a key is there."""
        return name in self._left

    def int_between(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """An integer within bounds, both included."""
        value = self.take(name, int, default)
        if not low <= value <= high:
            raise FormatError(self.path, None, f"{self.where}: {name} is {_shown(value)}, not {low} to {high}")
        return value

    def names(self) -> list[str]:
        """The keys that were not taken yet."""
        return list(self._left)

    def object(self, name: str) -> Fields:
        """The object that a key has."""
        return Fields(self.path, f"{self.where}, {name}", self.take(name, dict))

    def objects(self, name: str) -> dict[str, Fields]:
        """The objects in an object, by key."""
        return {
            key: Fields(self.path, f"{self.where}, {name} {_shown(key)}", value)
            for key, value in self.take(name, dict).items()
        }

    def spec(self, name: str) -> QSpec:
        """A grid's width and kind."""
        fields = self.object(name)
        default = QSpec(8)
        bits = fields.take("bits", int)
        signed = fields.take("signed", bool, default.signed)
        symmetric = fields.take("symmetric", bool, default.symmetric)
        per_channel = fields.take("per_channel", bool, default.per_channel)
        group_size = fields.int_between("group_size", 0, _LARGEST_GROUP, default.group_size)
        centred = fields.take("centred", bool, default.centred)
        fields.finish()
        try:
            return QSpec(bits, signed, symmetric, per_channel, group_size, centred)
        except UsageError as error:
            raise FormatError(self.path, None, f"{fields.where}: {error}") from error

    def finish(self) -> None:
        """Raises FormatError where a key is left that nothing asked for."""
        if self._left:
            raise FormatError(self.path, None, f"{self.where}: the key {_shown(min(self._left))} means nothing")


def spec_fields(spec: QSpec) -> dict[str, Any]:
    """A grid's width and kind as a JSON object, without what is usual."""
    usual = QSpec(spec.bits)
    kind = {name: getattr(spec, name) for name in ("signed", "symmetric", "per_channel", "group_size", "centred")}
    return {"bits": spec.bits} | {name: value for name, value in kind.items() if value != getattr(usual, name)}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
