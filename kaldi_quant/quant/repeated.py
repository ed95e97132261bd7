"""Products and grids that are called again and again with the same parameters, as within a recurrence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

from torch import nn

_Made = TypeVar("_Made")


class Repeated(nn.Module):
    """Makes something of its parameters before it computes with them: within ``repeated``, once."""

    def __init__(self) -> None:
        super().__init__()
        # What was made; None outside ``repeated``.
        self._kept: list[Any] | None = None

    @contextmanager
    def repeated(self) -> Iterator[None]:
        """Within it, parameters do not change from call to call."""
        self._kept = []
        try:
            yield
        finally:
            self._kept = None

    def once(self, make: Callable[[], _Made]) -> _Made:
        """What is made of the parameters."""
        if self._kept is None:
            return make()
        if not self._kept:
            self._kept.append(make())
        found: _Made = self._kept[0]
        return found


def repeated(called: object) -> Any:
    """What calls a product or a grid several times does it within this."""
    return called.repeated() if isinstance(called, Repeated) else nullcontext()
