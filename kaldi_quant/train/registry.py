"""What names on the command line stand for: kinds are entered where they are defined; unknown names are refused."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import ClassVar, Generic, TypeVar

from kaldi_quant.errors import UsageError


class Named:
    """A kind, with the name that it was entered by."""

    name: ClassVar[str]


Kind = TypeVar("Kind", bound=Named)


class Registry(Generic[Kind]):
    """Kinds by name, in the order in which they were entered.

    Args:
        option: whose values the names are, for messages.
    """

    def __init__(self, option: str) -> None:
        self.option = option
        self.kinds: dict[str, type[Kind]] = {}

    def enter(self, name: str) -> Callable[[type[Kind]], type[Kind]]:
        """Class decorator: the class is the kind of this name."""

        def decorated(kind: type[Kind]) -> type[Kind]:
            assert name not in self.kinds, name
            kind.name = name
            self.kinds[name] = kind
            return kind

        return decorated

    @property
    def names(self) -> list[str]:
        """All that there are."""
        return list(self.kinds)

    def __getitem__(self, name: str) -> type[Kind]:
        """The kind of a name.

        Raises:
            UsageError: there is none.
        """
        if name not in self.kinds:
            raise UsageError(f"{self.option} {name!r} is not one of {', '.join(self.kinds)}")
        return self.kinds[name]

    def check_options(
        self, name: str, given: Mapping[str, str], options_of: Callable[[type[Kind]], Collection[str]]
    ) -> None:
        """Refuses options that a kind does not have.

        Args:
            name: of the kind.
            given: the options that somebody has given, each with how the message shows it.
            options_of: the options that a kind has.

        Raises:
            UsageError: there is one; says which kinds have it. Or there is no such kind.
        """
        known = options_of(self[name])
        for option, shown in given.items():
            if option not in known:
                *others, last = (other for other, kind in self.kinds.items() if option in options_of(kind))
                owners = f"{', '.join(others)} or {last}" if others else last
                raise UsageError(f"{shown} has an effect only with {self.option} {owners}")
