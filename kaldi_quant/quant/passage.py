"""A batch on its way through a network, step by step, so that it can wait between two of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self


class Passage(ABC):
    """A batch on its way.

    Attributes:
        place: of the next step.
        values: what later steps read: tensors, or containers of them, by what names them.
    """

    values: dict[Any, Any]

    def __init__(self) -> None:
        self.place = 0

    @abstractmethod
    def step(self) -> None:
        """Computes the next step, and forgets what no later one reads."""

    @abstractmethod
    def copy(self) -> Self:
        """The same batch, going on by itself."""

    @property
    @abstractmethod
    def end(self) -> int:
        """The place behind the last step."""

    @property
    @abstractmethod
    def result(self) -> Any:
        """What the network gives, once all steps are computed."""

    def advance(self, place: int) -> None:
        """Computes all steps before a place."""
        while self.place < place:
            self.step()
