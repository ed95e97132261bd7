"""What a value of the configuration stands for: variables of the environment, the time of the run, nothing at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kaldi_quant.errors import UsageError

_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_]\w*")
_ENVIRONMENT, _NOW = "oc.env:", "now:"
_NOTHING = ("", "None")


def expanded(content: Any, variables: Mapping[str, str], now: datetime, where: str = "") -> Any:
    """A configuration whose values stand for themselves.

    ``${NAME}`` and ``${oc.env:NAME}`` are variables of the environment, ``${now:%Y_%m_%d}`` is the time. "None" and
    texts without content are null.

    Args:
        content: keys and values, sections and lists within.
        variables: of the environment.
        now: the time that the run began.
        where: the content stands, for messages.

    Raises:
        UsageError: a variable is not set, or is none; names it and the key.

    Example:
        >>> expanded({"dir": "${HOME}/data", "seed": "None"}, {"HOME": "/home/me"}, datetime.now())
        {'dir': '/home/me/data', 'seed': None}
    """
    if isinstance(content, dict):
        return {key: expanded(value, variables, now, f"{where}.{key}".strip(".")) for key, value in content.items()}
    if isinstance(content, list):
        return [expanded(value, variables, now, where) for value in content]
    if not isinstance(content, str):
        return content

    def value(found: re.Match[str]) -> str:
        inner = found[1]
        if inner.startswith(_NOW):
            return now.strftime(inner.removeprefix(_NOW))
        name = inner.removeprefix(_ENVIRONMENT)
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{where}: {found[0]} is no variable: expected ${{NAME}} of the environment, or ${{now:…}}"
            )
        if name not in variables:
            raise UsageError(f"{where}: the variable {name} of the environment is not set")
        return variables[name]

    text = _VARIABLE.sub(value, content)
    return None if text.strip() in _NOTHING else text
