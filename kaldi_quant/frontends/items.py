"""Items that networks of signals are trained on: the same whenever and wherever they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

Entry = TypeVar("Entry")
Entry_co = TypeVar("Entry_co", covariant=True)


class Items(Protocol[Entry_co]):
    """What is trained on."""

    def __len__(self) -> int:
        """Items of a pass."""

    def item(self, index: int, number_of_pass: int) -> Entry_co:
        """One of them: the same whenever and wherever it is asked for.

        Args:
            index: from 0 to below the length.
            number_of_pass: counted from 0.

        Raises:
            DataError: its audio cannot be used.
        """

    def digest(self) -> str:
        """What tells them from others, in hex: it depends on all audio and all options."""


class FixedItems(Protocol[Entry_co]):
    """What is measured on: a sequence whose entries are read or made when they are asked for."""

    def __len__(self) -> int:
        """Entries."""

    def __getitem__(self, index: int) -> Entry_co:
        """An entry, always the same.

        Raises:
            IndexError: there is none of that number.
            DataError: its audio cannot be used.
        """

    def __iter__(self) -> Iterator[Entry_co]:
        """All, in order."""

    def digest(self) -> str:
        """What tells them from others, in hex: it depends on all audio and all options."""


class Kept(Generic[Entry]):
    """Items that stay the same for several passes: making one may cost more than a step of a small network.

    Args:
        source: of items; those of its pass n serve passes ``n * passes`` to ``(n + 1) * passes - 1``.
        passes: how many.
    """

    def __init__(self, source: Items[Entry], passes: int) -> None:
        self.source, self.passes = source, passes
        self._kept: dict[int, tuple[int, Entry]] = {}

    def __len__(self) -> int:
        return len(self.source)

    def item(self, index: int, number_of_pass: int) -> Entry:
        """As of ``Items``."""
        number = number_of_pass // self.passes
        known = self._kept.get(index)
        if known is None or known[0] != number:
            self._kept[index] = known = (number, self.source.item(index, number))
        return known[1]

    def digest(self) -> str:
        """As of ``Items``."""
        return f"{self.source.digest()} {self.passes}"


def check_index(index: int, length: int) -> int:
    """The index from 0 on of one that may count from the end.

    Raises:
        IndexError: there is none.
    """
    if not -length <= index < length:
        raise IndexError(f"there are {length} items, and none of number {index}")
    return index % length
