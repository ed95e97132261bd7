"""Measurements in a JSON file that is whole after each of them, so that an interrupted run goes on where it was."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError
from kaldi_quant.made import changed_facts

_log = logging.getLogger(__name__)

Parsed = TypeVar("Parsed")


def read_measurements(
    path: Path, what: str, version: int, about: Mapping[str, Any], parse: Callable[[dict[str, Any]], Parsed]
) -> Parsed | None:
    """Reads what was measured before.

    Args:
        path: of the file.
        what: it holds, for messages.
        version: of its form.
        about: what measurements depend on. Where that has changed they are forgotten, and a message says why.
        parse: makes of the content what it stands for.

    Returns:
        None where nothing is known.

    Raises:
        DataError: the file is something else.
    """
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["format"] != version:
            raise ValueError(f"its format is not {version}")
        before, parsed = dict(content["about"]), parse(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a file of {what} ({error}): move it away") from error
    if others := changed_facts(before, about):
        _log.info("%s is measured again, as this has changed: %s", path, ", ".join(others))
        return None
    return parsed


def write_measurements(path: Path, version: int, about: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Writes what is known by now.

    Raises:
        DataError: the folder cannot be written.
    """
    with atomic_write(path, "w") as stream:
        stream.write(json.dumps({"format": version, "about": about, **content}, indent=1) + "\n")
