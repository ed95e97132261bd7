"""Options that only some entries of a registry have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from kaldi_quant.errors import UsageError
from kaldi_quant.registry import Entry, Registry


def check_options(
    chooser: str,
    registry: Registry[Entry],
    name: str,
    given: Mapping[str, str],
    options_of: Callable[[Entry], Collection[str]],
) -> None:
    """Refuses options that have no effect with what was chosen.

    Args:
        chooser: the option that chooses, such as ``--optimizer``.
        registry: what there is to choose from.
        name: what was chosen.
        given: the options that somebody has given, each with how the message shows it.
        options_of: the options that an entry has.

    Raises:
        UsageError: there is an option that the chosen entry does not have; says which ones have it. Or there is no such
            entry.
    """
    known = options_of(registry[name])
    for option, shown in given.items():
        if option not in known:
            *others, last = (other for other in registry if option in options_of(registry[other]))
            owners = f"{', '.join(others)} or {last}" if others else last
            raise UsageError(f"{shown} has an effect only with {chooser} {owners}")
