"""A network and mixtures of tones: what training and separation read, as small as it can be."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from kaldi_quant.frontends.separation.data.mixtures import Mixture, SeparationSet
from kaldi_quant.frontends.separation.networks.known import SPEAKERS, Kind

RATE = 8000


class Masks(nn.Module):
    """Learned filters, and a mask for each source from the frame alone."""

    def __init__(self, filters: int = 16, sources: int = 2, stride: int = 8) -> None:
        super().__init__()
        self.sources, self.filters = sources, filters
        self.encoder = nn.Conv1d(1, filters, 2 * stride, stride=stride, bias=False)
        self.hidden = nn.Conv1d(filters, filters, 1)
        self.masks = nn.Conv1d(filters, sources * filters, 1)
        self.decoder = nn.ConvTranspose1d(filters, 1, 2 * stride, stride=stride, bias=False)

    def forward(self, mixture: Tensor) -> Tensor:
        features = torch.relu(self.encoder(mixture))
        masks = torch.relu(self.masks(torch.relu(self.hidden(features)))).unflatten(1, (self.sources, self.filters))
        signals = self.decoder((masks * features.unsqueeze(1)).flatten(0, 1)).unflatten(0, (-1, self.sources))
        return nn.functional.pad(signals, (0, mixture.shape[-1] - signals.shape[-1]))


TOY = Kind(Masks, RATE)


def mixture(seed: int, samples: int = 1600, sources: int = 2) -> Mixture:
    """A low tone, and a high one, each with its own loudness over time."""
    random = np.random.default_rng(seed)
    time = np.arange(samples) / RATE
    tones = [
        0.2 * np.sin(2 * np.pi * random.uniform(200 * (k + 1) ** 2, 300 * (k + 1) ** 2) * time) for k in range(sources)
    ]
    waves = np.stack([tone * (1 + np.sin(2 * np.pi * random.uniform(2, 6) * time)) for tone in tones])[:, None]
    waves = waves.astype(np.float32)
    return Mixture(f"toy-{seed}", waves.sum(axis=0), waves)


class Train:
    """Items of training; each pass has other ones."""

    def __init__(self, count: int = 6, samples: int = 1600, sources: int = 2) -> None:
        self.count, self.samples, self.sources = count, samples, sources

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, number_of_pass: int) -> Mixture:
        return mixture(1000 * number_of_pass + index, self.samples, self.sources)

    def digest(self) -> str:
        return f"{self.count} {self.samples} {self.sources}"


class Whole:
    """Mixtures to measure on."""

    def __init__(self, count: int, samples: int = 1600, sources: int = 2, first: int = 90000) -> None:
        self.found = [mixture(first + place, samples, sources) for place in range(count)]

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, index: int) -> Mixture:
        return self.found[index]

    def __iter__(self) -> Iterator[Mixture]:
        return iter(self.found)

    def digest(self) -> str:
        return " ".join(one.name for one in self.found)


def data(count: int = 6, dev: int = 2, samples: int = 1600, sources: int = 2) -> SeparationSet:
    """A set of so many mixtures to train on, to choose on, and two to test on."""
    names = SPEAKERS if sources == 2 else tuple(f"s{place + 1}" for place in range(sources))
    parts = Train(count, samples, sources), Whole(dev, samples, sources), Whole(2, samples, sources, 95000)
    return SeparationSet("toy", RATE, names, 1, *parts)


class NoiseItems:
    """Mixtures of noises, for a kind of networks: what they need, and nothing to be learned."""

    def __init__(self, kind: Kind, count: int, samples: int) -> None:
        self.kind, self.count, self.samples = kind, count, samples

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Mixture:
        if index >= self.count:
            raise IndexError(index)
        shape = (len(self.kind.sources), self.kind.channels, self.samples)
        waves = np.random.default_rng(index).normal(scale=0.1, size=shape).astype(np.float32)
        return Mixture(f"noise-{index}", waves.sum(axis=0), waves)

    def __iter__(self) -> Iterator[Mixture]:
        return (self[index] for index in range(self.count))

    def item(self, index: int, number_of_pass: int) -> Mixture:
        return self[index]

    def digest(self) -> str:
        return f"{self.kind.sources} {self.count} {self.samples}"


def noises(kind: Kind, count: int = 4, seconds: float = 0.4) -> SeparationSet:
    """A set of noises for a kind of networks: so many to train on, two to choose on, one to test on."""
    parts = [NoiseItems(kind, number, round(seconds * kind.rate)) for number in (count, 2, 1)]
    return SeparationSet("noises", kind.rate, kind.sources, kind.channels, *parts)
