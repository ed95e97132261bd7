"""Minibatches of noisy and clean speech: on each pass other pieces, in another order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.frontends.enhancement.networks.known import Around
from kaldi_quant.frontends.enhancement.training.losses import Target
from kaldi_quant.frontends.items import Items
from kaldi_quant.frontends.pieces import PieceBatches

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


class TrainingBatches(PieceBatches[NoisyClean, tuple[Array, Array]]):
    """Minibatches of training.

    Args:
        source: of noisy and clean speech.
        around: what stands around the network.
        settings: those of ``PieceBatches``.

    Raises:
        UsageError: a value is impossible, or there is nothing to train on.
    """

    def __init__(self, source: Items[NoisyClean], around: Around, **settings: Any) -> None:
        super().__init__(source, **settings)
        self.around = around

    def _piece(self, item: NoisyClean, random: np.random.Generator) -> tuple[Array, Array]:
        begin, amplitude = self._begin(len(item.clean), random), self._amplitude(random)
        noisy, clean = (x[begin : begin + self.samples] * amplitude for x in (item.noisy, item.clean))
        return noisy, clean

    def _minibatch(
        self, pieces: list[tuple[Array, Array]], randoms: list[np.random.Generator]
    ) -> tuple[Tensor, Target]:
        return minibatch(pieces, self.around)

    def digest(self) -> str:
        """What tells the items and all settings from others."""
        settings = (self.around, self.batch_size, self.samples, self.seed, self.gain, self.portions)
        return hashlib.sha256(f"{self.source.digest()} {settings}".encode()).hexdigest()
