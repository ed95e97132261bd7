"""Things by name: each is added where it is defined, and a name that nothing has is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from kaldi_quant.errors import UsageError

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Entries by name.

    Args:
        what: an entry is, for messages: ``"observer"``.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._entries: dict[str, Entry] = {}

    def add(self, name: str) -> Callable[[Entry], Entry]:
        """A decorator that adds what it decorates under a name."""

        def decorator(entry: Entry) -> Entry:
            assert name not in self._entries, f"two of the name {name}"
            self._entries[name] = entry
            return entry

        return decorator

    def __getitem__(self, name: str) -> Entry:
        """The entry of a name.

        Raises:
            UsageError: there is none.
        """
        if name not in self._entries:
            raise UsageError(f"the {self.what} {name!r} is not one of {', '.join(self._entries)}")
        return self._entries[name]

    def get(self, name: str) -> Entry | None:
        """The entry of a name; None where there is none."""
        return self._entries.get(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries
