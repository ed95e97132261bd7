"""What tables call the folders that are compared."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from kaldi_quant.errors import UsageError


def named_folders(arguments: Sequence[str]) -> dict[str, Path]:
    """Folders by their names.

    Args:
        arguments: ``DIR`` or ``NAME=DIR``; without a name a folder is called by its path below what all have in common.

    Raises:
        UsageError: there is none, or two have one name.
    """
    if not arguments:
        raise UsageError("no decode folder is given")
    split = [_split_name(argument) for argument in arguments]
    short = _short_names([path for _, path in split])
    named: dict[str, Path] = {}
    for (given, path), default in zip(split, short, strict=True):
        name = given or default
        if name in named:
            raise UsageError(f"{named[name]} and {path} are both called {name}: give them names, as in NAME={path}")
        named[name] = path
    return named


def _split_name(argument: str) -> tuple[str, Path]:
    name, equals, path = argument.partition("=")
    if not equals or os.path.isdir(argument):
        return "", Path(argument)
    if not name.strip() or not path:
        raise UsageError(f"expected a folder, or NAME=folder, found {argument!r}")
    return name.strip(), Path(path)


def _short_names(paths: list[Path]) -> list[str]:
    """Paths without the leading folders that all have in common; the last part of a path always stays."""
    absolute = [os.path.abspath(path) for path in paths]
    common = os.path.commonpath([os.path.dirname(path) for path in absolute])
    return [os.path.relpath(path, common) for path in absolute]
