"""Minibatches of mixtures and their sources: on each pass other pieces, in another order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.frontends.pieces import PieceBatches
from kaldi_quant.frontends.separation.data.augmentations import Augmentation
from kaldi_quant.frontends.separation.data.mixtures import Mixture, TrainingSource
from kaldi_quant.frontends.signals.stft import Array


class TrainingBatches(PieceBatches[Mixture, Array]):
    """Minibatches of training: ``(mixture (N, C, t), sources (N, S, C, t))`` float32 pairs.

    Args:
        source: of mixtures.
        augmentations: what changes pieces, one after the other; the mixture is the sum of what has become of its
            sources, and of what is of no source.
        settings: ``batch_size``, ``seconds`` of a piece, ``rate`` and others of ``PieceBatches``.

    Raises:
        UsageError: a value is impossible, or there is nothing to train on.

    Example:
        >>> data = open_separation_data(Path("egs/enhancement/data"), NETWORKS["conv-tasnet-small"])
        >>> batches = TrainingBatches(data.train, batch_size=8, seconds=1.0, rate=data.rate, seed=1)
        >>> mixture, sources = next(iter(batches.minibatches(0)))
        >>> mixture.shape, sources.shape
        (torch.Size([8, 1, 8000]), torch.Size([8, 2, 1, 8000]))
    """

    def __init__(
        self, source: TrainingSource, *, augmentations: Sequence[Augmentation] = (), rate: int, **settings: Any
    ) -> None:
        super().__init__(source, rate=rate, **settings)
        self.rate, self.augmentations = rate, tuple(augmentations)
        #: Samples of a piece before it is changed: what changes pieces may shorten them.
        self.needed = self.samples
        for augmentation in reversed(self.augmentations):
            self.needed = augmentation.needs(self.needed)

    def _piece(self, item: Mixture, random: np.random.Generator) -> Array:
        """(S + 1, C, t): the sources and the rest."""
        begin, amplitude = self._begin(item.samples, random, self.needed), self._amplitude(random)
        part = slice(begin, begin + self.needed)
        mixture, sources = item.mixture[:, part], item.sources[:, :, part]
        parts = np.concatenate([sources, mixture[None] - sources.sum(axis=0, keepdims=True)]) * amplitude
        return np.pad(parts, ((0, 0), (0, 0), (0, self.needed - parts.shape[-1])))

    def _minibatch(self, pieces: list[Array], randoms: list[np.random.Generator]) -> tuple[Tensor, Tensor]:
        parts = np.stack(pieces)
        for augmentation in self.augmentations:
            parts = augmentation(parts, randoms)
        parts = parts[..., : self.samples].astype(np.float32, copy=False)
        mixture = parts.sum(axis=1)
        return torch.from_numpy(mixture), torch.from_numpy(np.ascontiguousarray(parts[:, :-1]))

    def digest(self) -> str:
        """What tells the items and all settings from others."""
        about = (self.batch_size, self.samples, self.seed, self.gain, self.rate, self.portions)
        return hashlib.sha256(f"{self.source.digest()} {self.augmentations} {about}".encode()).hexdigest()


def held_out_batches(mixtures: Iterable[Mixture], batch_size: int) -> list[tuple[Tensor, Tensor]]:
    """Minibatches of whole mixtures, each of mixtures that are as long as each other: nothing is padded."""
    by_length: dict[int, list[Mixture]] = {}
    for mixture in mixtures:
        by_length.setdefault(mixture.samples, []).append(mixture)
    found = []
    for _, alike in sorted(by_length.items()):
        for begin in range(0, len(alike), batch_size):
            part = alike[begin : begin + batch_size]
            whole = (np.stack([one.mixture for one in part]), np.stack([one.sources for one in part]))
            found.append((torch.from_numpy(whole[0]).float(), torch.from_numpy(whole[1]).float()))
    return found
