"""Options as Kaldi's programs read them: ``--name=value`` on a command line, or on the lines of a ``--config`` file.

Names may be written with ``_`` for ``-`` and in capitals; a boolean without a value is true; in a file ``#`` begins a
comment. Files come first and the command line after them, so that its values replace theirs.

Source: ``src/util/parse-options.cc``, ``src/util/text-utils.h``.
"""

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kaldi_quant.errors import FormatError, UsageError
from kaldi_quant.kaldi.script_file import locate
from kaldi_quant.kaldi.streams import is_pipe, open_stream
from kaldi_quant.kaldi.text import decode, strip, to_integer, to_real

#: The default of each option, a bool, int, float or str, by Kaldi's name.
Defaults = Mapping[str, Any]

_TRUE, _FALSE = ("true", "t", "1", ""), ("false", "f", "0")
# Every program has these; they do not change what it computes.
_STANDARD: Defaults = {"config": "", "print-args": True, "help": False, "verbose": 0}
# Kaldi's scripts put such a text into a command of the shell, which would do something with these.
_OF_THE_SHELL = re.compile(r"[$`;&|<>()*?\[\]{}~!\\]|(?:^|\s)#")
_LONGEST_LINE = 1 << 16


@dataclass
class ParsedOptions:
    """What options say.

    Attributes:
        values: of the options that are named, by Kaldi's name.
        files: the configuration files that were read.
    """

    values: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)


def parse_options(text: str, defaults: Defaults, where: str, near: str = "") -> ParsedOptions:
    """Takes the options of a command apart.

    Args:
        text: such as ``--norm-means=true --config=conf/online_cmvn.conf``; quotes are the shell's.
        defaults: the options that there are.
        where: the text comes from, for messages.
        near: a file; a configuration file that is not there from the current folder is looked for in the folder of this
            one and in those above it.

    Raises:
        FormatError: an option is unknown or has no value that fits, or a file cannot be read.
    """
    parsed = ParsedOptions()
    options = [(word, *_split(word, defaults, where)) for word in _words(text, where)]
    for word, name, value in options:
        if name == "help":
            raise FormatError(where, None, f"{word} makes Kaldi's program end at once: leave it out")
        if name == "config":
            path = locate(str(value), near)
            parsed.values.update(read_config(path, defaults, f"{where} names it"))
            parsed.files.append(path)
    parsed.values.update({name: value for _, name, value in options if name not in _STANDARD})
    return parsed


def read_config(path: str | os.PathLike[str], defaults: Defaults, why: str = "") -> dict[str, Any]:
    """Reads a configuration file.

    Args:
        path: such as ``conf/mfcc_hires.conf``.
        defaults: the options that there are.
        why: it is read, for the message that it is missing.

    Returns:
        the values of the options that it names, by Kaldi's name.

    Raises:
        FormatError: the file is missing, or a line is no option; names the line and what is allowed.
    """
    name, values = os.fspath(path), {}
    if name in ("", "-") or is_pipe(name):
        raise FormatError(name or "--config=", None, "expected a file")
    try:
        stream = open_stream(name)
    except FormatError as error:
        raise FormatError(name, None, f"{str(error).removeprefix(f'{name}: ')}; {why}") if why else error from error
    try:
        number = 0
        while line := stream.read_line(_LONGEST_LINE):
            number += 1
            text = strip(decode(line).split("#", 1)[0])
            if text:
                key, value = _split(text, defaults, f"{name}, line {number}")
                values[key] = value
    finally:
        stream.close()
    return {key: value for key, value in values.items() if key not in _STANDARD}


def as_text(values: Mapping[str, Any]) -> str:
    """Options as a command has them; names may have ``_`` for ``-``, and empty texts are left out."""
    return " ".join(f"--{name.replace('_', '-')}={_shown(value)}" for name, value in values.items() if value != "")


def integers(text: str, option: str) -> tuple[int, ...]:
    """Integers that colons separate, such as ``13:14:15``.

    Args:
        text: of the value.
        option: its name, for messages.

    Raises:
        UsageError: something between the colons is no integer.
    """
    try:
        return tuple(to_integer(word) for word in text.split(":")) if text else ()
    except ValueError:
        raise UsageError(f"--{option}={text}: expected integers with colons between them, such as 13:14:15") from None


def _words(text: str, where: str) -> list[str]:
    if found := _OF_THE_SHELL.search(text):
        raise FormatError(
            where, None, f"expected options such as --norm-means=true, found {found[0].strip()!r} in them"
        )
    try:
        return shlex.split(text)
    except ValueError as error:
        raise FormatError(where, None, f"expected options such as --norm-means=true, found {text[:60]!r}") from error


def _split(text: str, defaults: Defaults, where: str) -> tuple[str, Any]:
    """The name and the value of an option."""
    option, equals, value = text.partition("=")
    name = option.removeprefix("--").replace("_", "-").lower()
    known = {**_STANDARD, **defaults}
    if not text.startswith("--") or name not in known:
        allowed = _allowed(name, defaults)
        example = max(allowed, key=lambda text: not text.endswith("…"))
        raise FormatError(
            where, None, f"expected an option such as {example}, found {text[:60]!r}; allowed are {' '.join(allowed)}"
        )
    kind = type(known[name])
    if not equals and kind is not bool:
        raise FormatError(where, None, f"{option} needs a value, such as {_assignment(name, known[name])}")
    value = strip(value)
    if kind is bool and equals and not value:
        raise FormatError(where, None, f"{option}= needs a value, true or false")
    return name, _convert(name, kind, value, where)


def _allowed(name: str, defaults: Defaults) -> list[str]:
    """The options that stand where one is named; of those with more points in their names, how these begin."""
    prefix = name
    while prefix and not any(key.startswith(f"{prefix}.") for key in defaults):
        prefix = prefix.rpartition(".")[0]
    beginning = f"{prefix}." if prefix else ""
    found: dict[str, None] = {}
    for key, default in defaults.items():
        if key.startswith(beginning):
            group, point, _ = key[len(beginning) :].partition(".")
            found[f"--{beginning}{group}.…" if point else _assignment(key, default)] = None
    return list(found)


def _convert(name: str, kind: type, text: str, where: str) -> Any:
    if kind is str:
        return text
    if kind is bool:
        if text.lower() in _TRUE + _FALSE:
            return text.lower() in _TRUE
        raise FormatError(where, None, f"--{name} must be true or false, found {text[:40]!r}")
    try:
        return to_integer(text) if kind is int else to_real(text)
    except ValueError:
        what = "an integer" if kind is int else "a number"
        raise FormatError(where, None, f"--{name} must be {what}, found {text[:40]!r}") from None


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _assignment(name: str, default: Any) -> str:
    return f"--{name}={_shown(default)}" if default != "" else f"--{name}=…"
