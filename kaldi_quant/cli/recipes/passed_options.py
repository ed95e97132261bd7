"""Options that a recipe takes only to give them to another command: they are declared there alone."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import click


def passed_options(
    argument: str, command: click.Command, names: Collection[str], defaults: Mapping[str, str] | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that gives a recipe options of another command; those that the user gave arrive as a dictionary.

    Args:
        argument: its name: option → value.
        command: that declares the options.
        names: of its parameters, with ``_``.
        defaults: what the help says instead of the command's own default.
    """
    options = [_without_default(option, (defaults or {}).get(str(option.name))) for option in command.params]
    chosen = [option for option in options if isinstance(option, click.Option) and option.name in names]
    missing = set(names) - {str(option.name) for option in chosen}
    assert not missing, missing

    def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def recipe(**values: Any) -> Any:
            given = {str(option.name): values.pop(str(option.name)) for option in chosen}
            return function(**{argument: {name: value for name, value in given.items() if value is not None}}, **values)

        # click collects options in this attribute, the last of the help first.
        recipe.__click_params__ = [*getattr(function, "__click_params__", []), *reversed(chosen)]  # type: ignore[attr-defined]
        return recipe

    return decorator


def _without_default(option: click.Parameter, shown: str | None) -> click.Parameter:
    copied = copy.copy(option)
    if isinstance(copied, click.Option):
        has_default = isinstance(option.default, str | int | float) and not isinstance(option.default, bool)
        own = str(option.default) if has_default else ""
        copied.show_default = shown or own or False
        copied.default = None
    return copied


def parsed(command: click.Command, words: Sequence[str | Path]) -> dict[str, Any]:
    """What a command's options would be: so that wrong ones are refused before any work.

    Raises:
        click.UsageError: one is wrong.
    """
    return command.make_context(command.name or "", [str(word) for word in words]).params
