"""Calls the verbs of this project from a recipe, each in a copy of its process.

The recipe's own process computes nothing, so that it has no threads and can be copied. What several verbs need it
imports once.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from kaldi_quant.cli.main import group, log_file, run_apart

# Verbs that compute with numpy alone, or leave computing to other processes.
_WITHOUT_TORCH = ("make-mfcc", "compute-cmvn-stats", "decode", "score")


def call_verb(verb: str, arguments: Sequence[str | Path], log: Path) -> None:
    """Runs a verb.

    Args:
        verb: such as ``"forward"``.
        arguments: as its command line has them.
        log: where what it reports goes too, between the command and the time it took.

    Raises:
        KaldiQuantError, click.UsageError: as the verb.
    """
    words = [str(word) for word in arguments]
    command = group.get_command(click.Context(group), verb)
    assert command is not None, verb
    if verb not in _WITHOUT_TORCH:
        importlib.import_module("torch")

    def work() -> None:
        with log_file(log, ["kaldi-quant", verb, *words]):
            command.main(words, prog_name=f"kaldi-quant {verb}", standalone_mode=False)

    run_apart(work, f"kaldi-quant {verb}")


def words_of(arguments: Any, without: Iterable[str] = ()) -> list[str]:
    """Options as a command line has them, of a dataclass of options' values; those without a value are left out.

    Args:
        arguments: the dataclass.
        without: fields that are left out, too.
    """
    return words_for(values_of(arguments, without))


def words_for(values: Mapping[str, Any]) -> list[str]:
    """Options as a command line has them; those without a value are left out."""
    words = []
    for name, value in values.items():
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            words.append(f"--{name.replace('_', '-')}={text}")
    return words


def values_of(arguments: Any, without: Iterable[str] = ()) -> dict[str, Any]:
    """The fields of a dataclass of options' values that have a value."""
    values = {entry.name: getattr(arguments, entry.name) for entry in dataclasses.fields(arguments)}
    return {name: value for name, value in values.items() if value is not None and name not in set(without)}


def settings_of(arguments: Any, without: Iterable[str] = ()) -> dict[str, Any]:
    """The same under the options' names, as what a result depends on."""
    return {f"--{name.replace('_', '-')}": value for name, value in values_of(arguments, without).items()}
