"""Minibatches of pieces of signals: on each pass other pieces, in another order."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.ahead import ahead
from kaldi_quant.frontends.items import Items, Kept
from kaldi_quant.torchnn.batches import Passes
from kaldi_quant.units import Hertz, Seconds

Entry = TypeVar("Entry")
Piece = TypeVar("Piece")


class PieceBatches(Passes, Generic[Entry, Piece]):
    """Minibatches of pieces of items. All that is random follows from the seed, the pass and the item.

    Args:
        source: of items.
        batch_size: pieces in a minibatch.
        seconds: of a piece, which is drawn anew from its item on each pass; shorter items are padded.
        seed: of order, pieces and gains.
        gain: in dB: pieces are made louder or softer by up to this.
        keep: items are made anew after so many passes; in between they stay in memory.
        rate: of waves, in Hz.
        portions: so many passes of these minibatches are one over the items: what changes from pass to pass, such as
            the learning rate, then changes within a short training, too.
        workers: threads that make minibatches before they are asked for; 0 for none. Minibatches are the same.

    Raises:
        UsageError: a value is impossible, or there is nothing to train on.
    """

    def __init__(
        self,
        source: Items[Entry],
        *,
        batch_size: int,
        seconds: Seconds,
        seed: int = 0,
        gain: float = 0.0,
        keep: int = 1,
        rate: Hertz = 16000,
        portions: int = 1,
        workers: int = 0,
    ) -> None:
        self.source: Items[Entry] = source if keep <= 1 else Kept(source, keep)
        self.batch_size, self.seed, self.gain = batch_size, seed, gain
        self.samples, self.portions, self.workers = round(seconds * rate), portions, workers
        if batch_size < 1 or self.samples < 1 or not len(source) or gain < 0:
            raise UsageError(
                f"minibatches of {batch_size} pieces of {seconds:g} s from {len(source)} items: expected more than 0 "
                "of each, and a gain that is not negative"
            )

        if not 1 <= portions <= self._of_items:
            raise UsageError(f"{portions} portions of {self._of_items} minibatches: expected 1 to {self._of_items}")

    def __len__(self) -> int:
        """Minibatches of a pass; some portions have one less."""
        return math.ceil(self._of_items / self.portions)

    @property
    def _of_items(self) -> int:
        return math.ceil(len(self.source) / self.batch_size)

    def minibatches(self, number: int) -> Iterator[Any]:
        """Those of a pass."""
        number, portion = divmod(number, self.portions)
        order = np.random.default_rng((self.seed, number)).permutation(len(self.source)).tolist()
        first, last = (self._of_items * place // self.portions for place in (portion, portion + 1))
        begins = range(0, len(order), self.batch_size)[first:last]
        wanted = (order[begin : begin + self.batch_size] for begin in begins)
        return ahead(partial(self._made, number), wanted, self.workers)

    def _made(self, number: int, places: list[int]) -> Any:
        """A minibatch of a pass over the items."""
        randoms = [np.random.default_rng((self.seed, number, place)) for place in places]
        items = (self.source.item(place, number) for place in places)
        return self._minibatch([self._piece(*both) for both in zip(items, randoms, strict=True)], randoms)

    def _begin(self, length: int, random: np.random.Generator, samples: int | None = None) -> int:
        """Where a piece of so many samples begins, by default ``samples``, in a signal of some length."""
        return int(random.integers(max(length - (samples or self.samples), 0) + 1))

    def _amplitude(self, random: np.random.Generator) -> np.float32:
        return np.float32(10 ** (self.gain * random.uniform(-1, 1) / 20))

    @abstractmethod
    def _piece(self, item: Entry, random: np.random.Generator) -> Piece:
        """A piece of an item; what is random follows from the generator."""

    @abstractmethod
    def _minibatch(self, pieces: list[Piece], randoms: list[np.random.Generator]) -> Any:
        """A minibatch of pieces, each with its generator, as the piece left it."""
