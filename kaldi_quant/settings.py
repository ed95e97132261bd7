"""Settings that users write as YAML: dataclasses of plain values; a file says what differs from the defaults."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from kaldi_quant.errors import UsageError


def read_yaml(path: str | Path) -> Any:
    """The content of a file; an empty one has no keys.

    Raises:
        UsageError: it is missing, or no YAML.
    """
    try:
        return yaml.safe_load(Path(path).read_text("utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error


def changed(base: Any, changes: Any, where: str) -> Any:
    """A dataclass with some fields changed; a field that is a dataclass itself is changed likewise.

    Args:
        base: with the defaults. A tuple, which is a list in YAML, holds names if the default does, else whole numbers.
        changes: keys and values.
        where: they stand, for messages.

    Raises:
        UsageError: there is no such key, or a value is of another kind; names those that exist, with their defaults.
    """
    known = {entry.name: getattr(base, entry.name) for entry in dataclasses.fields(base)}
    if not isinstance(changes, dict):
        raise UsageError(f"{where}: expected keys and values, found {changes!r}")
    found: dict[str, Any] = {}
    for key, value in changes.items():
        if key not in known:
            allowed = ", ".join(f"{name} ({default})" for name, default in known.items())
            raise UsageError(f"{where}: there is no key {key!r}; keys and defaults are {allowed}")
        found[key] = _value(known[key], value, where, key)
    return dataclasses.replace(base, **found)


def _value(default: Any, value: Any, where: str, key: str) -> Any:
    if dataclasses.is_dataclass(default):
        return changed(default, value, f"{where}, {key}")
    if isinstance(default, tuple):
        kind, what = (str, "names") if default and isinstance(default[0], str) else (int, "whole numbers")
        if not isinstance(value, list) or any(type(entry) is not kind for entry in value):
            raise UsageError(f"{where}: {key} must be a list of {what} like {list(default)}, found {value!r}")
        return tuple(value)
    if type(default) is float and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise UsageError(f"{where}: {key} must be a value like {default!r}, found {value!r}")
    return value


def above_0(where: str, values: Mapping[str, float]) -> None:
    """Refuses settings that are not above 0; where: they stand; values: by name.

    Raises:
        UsageError: there is one.
    """
    _each(where, values, "above 0", lambda value: 0 < value < math.inf)


def at_least_0(where: str, values: Mapping[str, float]) -> None:
    """Refuses settings that are below 0; arguments and errors as of ``above_0``."""
    _each(where, values, "0 or more", lambda value: 0 <= value < math.inf)


def shares(where: str, values: Mapping[str, float]) -> None:
    """Refuses settings that are no shares; arguments and errors as of ``above_0``."""
    _each(where, values, "from 0 to 1", lambda value: 0 <= value <= 1)


def _each(where: str, values: Mapping[str, float], what: str, holds: Callable[[float], bool]) -> None:
    for name, value in values.items():
        if not holds(value):
            raise UsageError(f"{where}: {name} must be {what}, found {value}")
