"""Reads a section of the configuration into its dataclass: keys that exist, values of the kinds that fields have."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from kaldi_quant.errors import UsageError

Section = TypeVar("Section")
_REQUIRED = "required"
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def required(default: Any = None) -> Any:
    """A field that the file must give a value where its section is used; default: elsewhere."""
    return dataclasses.field(default=default, metadata={_REQUIRED: True})


def read_section(kind: type[Section], content: Any, where: str, used: bool = True) -> Section:
    """A section.

    Args:
        kind: its dataclass. Fields are bool, int, float, str, tuples of str, mappings, dataclasses; or None.
        content: of the section; a key without a value has the default.
        where: the section stands, for messages: its name.
        used: whether keys that are required must have values.

    Raises:
        UsageError: there is no such key, one that is required has no value, or a value is of another kind; names the
            section and the key, and those that are allowed.
    """
    if content is None:
        content = {}
    if not isinstance(content, Mapping):
        raise UsageError(f"{where}: expected a section with keys and values, found {content!r}")
    hints = typing.get_type_hints(kind)
    fields = {entry.name: entry for entry in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = [key for key in content if key not in fields]
    if unknown:
        raise UsageError(f"{where} has no key {unknown[0]!r}: allowed are {', '.join(fields)}")
    found = {}
    for name, entry in fields.items():
        inner = _inner(hints[name])
        if dataclasses.is_dataclass(inner) and (content.get(name) is not None or not _may_be_none(hints[name])):
            found[name] = read_section(inner, content.get(name), f"{where}.{name}", used)  # type: ignore[arg-type]
        elif content.get(name) is not None:
            found[name] = _value(inner, content[name], f"{where}.{name}")
        elif used and entry.metadata.get(_REQUIRED):
            needed = ", ".join(key for key, one in fields.items() if one.metadata.get(_REQUIRED))
            raise UsageError(f"{where}.{name} has no value: the section {where} needs {needed}")
    return kind(**found)


def _may_be_none(hint: Any) -> bool:
    return type(None) in typing.get_args(hint)


def _inner(hint: Any) -> Any:
    """The kind of a value that is there: ``int`` of ``int | None``."""
    if not isinstance(hint, types.UnionType):
        return hint
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 else tuple(kinds)


def _value(kind: Any, value: Any, where: str) -> Any:
    if isinstance(kind, tuple):
        # A number of clips, or a share of them.
        return _number(value, where)
    origin = typing.get_origin(kind)
    if origin is tuple:
        if not isinstance(value, list) or any(not isinstance(entry, str) for entry in value):
            raise UsageError(f"{where} must be a list of names, found {value!r}")
        return tuple(value)
    if origin is not None:
        if not isinstance(value, Mapping) or any(not isinstance(key, str) for key in value):
            raise UsageError(f"{where} must be keys and values, such as {{lr: 0.001}}, found {value!r}")
        return {key: _plain(entry) for key, entry in value.items()}
    return _scalar(kind, value, where)


def _scalar(kind: type, value: Any, where: str) -> Any:
    """A value as its field has it; texts that are numbers, as the environment has them, are numbers."""
    plain = _plain(value)
    if kind is str and isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    if kind is bool and isinstance(plain, bool):
        return plain
    if isinstance(plain, int | float) and not isinstance(plain, bool) and math.isfinite(plain):
        if kind is int and plain == math.trunc(plain):
            return int(plain)
        if kind is float:
            return float(plain)
    raise UsageError(f"{where} must be {_WORDS[kind]}, found {value!r}")


def _number(value: Any, where: str) -> int | float:
    plain = _plain(value)
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise UsageError(f"{where} must be a whole number, or a share such as 0.1, found {value!r}")
    return plain


def _plain(value: Any) -> Any:
    """``"1e-4"``, which YAML takes for a text, as a number; ``"True"`` as a truth value."""
    if not isinstance(value, str):
        return value
    if value.casefold() in ("true", "false"):
        return value.casefold() == "true"
    for kind in (int, float):
        try:
            found = kind(value)
        except ValueError:
            continue
        return found if math.isfinite(found) else value
    return value
