"""Things by name: each is added where it is defined, and a name that nothing has is an error."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator
from typing import Generic, TypeVar

from kaldi_quant.errors import UsageError

Entry = TypeVar("Entry")


class Registry(Collection[str], Generic[Entry]):
    """Entries by name.

    Args:
        what: an entry is, for messages: ``"observer"``.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._entries: dict[str, Entry] = {}
        # Of declared names the modules, in the order in which names are listed; of others nothing.
        self._modules: dict[str, str] = {}

    def add(self, name: str) -> Callable[[Entry], Entry]:
        """A decorator that adds what it decorates under a name."""

        def decorator(entry: Entry) -> Entry:
            assert name not in self._entries, f"two of the name {name}"
            self._entries[name] = entry
            self._modules.setdefault(name, "")
            return entry

        return decorator

    def declare(self, name: str, module: str) -> None:
        """Says which module adds a name; it is imported when the entry is asked for."""
        self._modules.setdefault(name, module)

    def __getitem__(self, name: str) -> Entry:
        """The entry of a name.

        Raises:
            UsageError: there is none.
        """
        if name not in self:
            raise UsageError(f"the {self.what} {name!r} is not one of {', '.join(self)}")
        if name not in self._entries:
            importlib.import_module(self._modules[name])
        return self._entries[name]

    def get(self, name: str) -> Entry | None:
        """The entry of a name; None where there is none."""
        return self[name] if name in self._modules else None

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __len__(self) -> int:
        return len(self._modules)
