"""``Data`` whose units are kept in a list."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Generic, Self, TypeVar

import torch

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.progress import progress
from kaldi_quant.quant.host import Data, Executable

Unit = TypeVar("Unit")


class ListedData(Data, Generic[Unit]):
    """Named units; a kind of network adds how they are computed.

    Args:
        units: with their names.
        units_are: what they are called in reports of progress.
        max_bad_share: how many may be unusable.
        device: where networks compute them.
    """

    def __init__(
        self, units: Iterable[tuple[str, Unit]], units_are: str, max_bad_share: float, device: torch.device | None
    ) -> None:
        self.units = list(units)
        self.units_are = units_are
        self.max_bad_share = max_bad_share
        self.device = device or torch.device("cpu")

    @property
    def names(self) -> list[str]:
        """Those of the units."""
        return [name for name, _ in self.units]

    def keep(self, names: Iterable[str]) -> None:
        """Takes out all units but these."""
        kept = set(names)
        self.units = [(name, unit) for name, unit in self.units if name in kept]

    def _with(self, units: list[tuple[str, Unit]]) -> Self:
        new = copy.copy(self)
        new.units = units
        return new

    def some(self, number: int = 20) -> Self:
        """At most so many of the units, evenly chosen."""
        count = len(self.units)
        chosen = range(count) if count <= number else [i * count // number for i in range(number)]
        return self._with([self.units[i] for i in chosen])

    def one_by_one(self) -> Iterator[Self]:
        """Each unit by itself."""
        return (self._with([unit]) for unit in self.units)

    def _usable(self, model: Executable, bad: BadUtterances) -> Iterator[str]:
        """The units that can be used, each once it is computed."""
        return (name for name, _ in self.outputs(model, bad))

    def run(self, model: Executable, what: str = "") -> None:
        """Computes all units, for what the model's taps and watchers see.

        Args:
            model: the network; it is moved to the device.
            what: what this is for, for the report of progress; empty where other work is reported that it is part of.

        Raises:
            DataError: too many units cannot be used.
        """
        bad = BadUtterances(self.max_bad_share)
        usable = set()
        with progress(len(self.units), what, self.units_are, brief=True) if what else nullcontext() as advance:
            for name in self._usable(model.to(self.device), bad):
                usable.add(name)
                if advance is not None:
                    advance(1)
        bad.check()
        # Said once is enough: further runs do without the bad ones.
        self.keep(usable)
