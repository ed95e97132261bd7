"""Minibatches of noisy and clean speech: on each pass other pieces, in another order."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.enhancement.networks.known import Around
from kaldi_quant.frontends.enhancement.training.losses import Target
from kaldi_quant.torchnn.batches import Passes
from kaldi_quant.units import Hertz, Seconds

#: (samples,) float32.
Array = np.ndarray[Any, np.dtype[Any]]


class NoisyClean(Protocol):
    """Speech with noise and without, as long as each other."""

    @property
    def noisy(self) -> Array:
        """(samples,) float32."""

    @property
    def clean(self) -> Array:
        """(samples,) float32."""


class Items(Protocol):
    """What is trained on."""

    def __len__(self) -> int:
        """Items of a pass."""

    def item(self, index: int, number_of_pass: int) -> NoisyClean:
        """One of them, the same whenever and wherever it is asked for."""

    def digest(self) -> str:
        """What tells them from others."""


def minibatch(waves: Sequence[tuple[Array, Array]], around: Around) -> tuple[Tensor, Target]:
    """What a network is called with, and the target, of (noisy, clean) pairs; shorter ones are padded with zeros."""
    samples = [len(clean) for _, clean in waves]
    noisy, clean = (
        torch.from_numpy(np.stack([np.pad(x, (0, max(samples) - len(x))) for x in side])).float()
        for side in zip(*waves, strict=True)
    )
    spectrum = around.stft.spectrum(noisy)
    return around.inputs(spectrum).contiguous(), Target(spectrum, clean, torch.tensor(samples))


def held_out_batches(pairs: Iterable[NoisyClean], around: Around, batch_size: int) -> list[tuple[Tensor, Target]]:
    """Minibatches of whole signals, each of signals that are about as long as each other."""
    waves = sorted(((pair.noisy, pair.clean) for pair in pairs), key=lambda both: len(both[0]))
    return [minibatch(waves[begin : begin + batch_size], around) for begin in range(0, len(waves), batch_size)]


class Kept:
    """Items that stay the same for several passes: mixing may cost more than a step of a small network.

    Args:
        source: of items; those of its pass n serve passes ``n * passes`` to ``(n + 1) * passes - 1``.
        passes: how many.
    """

    def __init__(self, source: Items, passes: int) -> None:
        self.source, self.passes = source, passes
        self._kept: dict[int, tuple[int, NoisyClean]] = {}

    def __len__(self) -> int:
        return len(self.source)

    def item(self, index: int, number_of_pass: int) -> NoisyClean:
        """As of ``Items``."""
        number = number_of_pass // self.passes
        known = self._kept.get(index)
        if known is None or known[0] != number:
            self._kept[index] = known = (number, self.source.item(index, number))
        return known[1]

    def digest(self) -> str:
        """As of ``Items``."""
        return f"{self.source.digest()} {self.passes}"


class TrainingBatches(Passes):
    """Minibatches of training.

    Args:
        source: of noisy and clean speech.
        around: what stands around the network.
        batch_size: pieces in a minibatch.
        seconds: of a piece, which is drawn anew from its item on each pass; shorter items are padded.
        seed: of order, pieces and gains.
        gain: in dB: pieces are made louder or softer by up to this.
        keep: items are made anew after so many passes; in between they stay in memory.
        rate: of waves, in Hz.
        portions: so many passes of these minibatches are one over the items: what changes from pass to pass, such as
            the learning rate, then changes within a short training, too.

    Raises:
        UsageError: a value is impossible, or there is nothing to train on.
    """

    def __init__(
        self,
        source: Items,
        around: Around,
        *,
        batch_size: int,
        seconds: Seconds,
        seed: int = 0,
        gain: float = 0.0,
        keep: int = 1,
        rate: Hertz = 16000,
        portions: int = 1,
    ) -> None:
        self.source: Items = source if keep <= 1 else Kept(source, keep)
        self.around, self.batch_size, self.seed, self.gain = around, batch_size, seed, gain
        self.samples = round(seconds * rate)
        self.portions = portions
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

    def minibatches(self, number: int) -> Iterator[tuple[Tensor, Target]]:
        """(inputs, target) pairs of a pass."""
        number, portion = divmod(number, self.portions)
        order = np.random.default_rng((self.seed, number)).permutation(len(self.source)).tolist()
        first, last = (self._of_items * place // self.portions for place in (portion, portion + 1))
        for begin in range(0, len(order), self.batch_size)[first:last]:
            yield minibatch(
                [self._piece(place, number) for place in order[begin : begin + self.batch_size]], self.around
            )

    def _piece(self, place: int, number: int) -> tuple[Array, Array]:
        pair = self.source.item(place, number)
        random = np.random.default_rng((self.seed, number, place))
        begin = int(random.integers(max(len(pair.clean) - self.samples, 0) + 1))
        amplitude = np.float32(10 ** (self.gain * random.uniform(-1, 1) / 20))
        noisy, clean = (x[begin : begin + self.samples] * amplitude for x in (pair.noisy, pair.clean))
        return noisy, clean

    def digest(self) -> str:
        """What tells the items and all settings from others."""
        settings = (self.around, self.batch_size, self.samples, self.seed, self.gain, self.portions)
        return hashlib.sha256(f"{self.source.digest()} {settings}".encode()).hexdigest()
