"""Sines and noise in the place of speech: what training reads, as small as it can be."""

from dataclasses import dataclass

import numpy as np

RATE = 16000


@dataclass(frozen=True)
class Pair:
    noisy: np.ndarray
    clean: np.ndarray


def pair(seed: int, samples: int = 4000) -> Pair:
    """A sine that comes and goes, and white noise 5 dB below it."""
    random = np.random.default_rng(seed)
    time = np.arange(samples) / RATE
    clean = 0.1 * np.sin(2 * np.pi * random.uniform(200, 2000) * time) * (1 + np.sin(2 * np.pi * 4 * time))
    noise = random.normal(size=samples) * np.sqrt((clean**2).mean()) * 10 ** (-5 / 20)
    return Pair((clean + noise).astype(np.float32), clean.astype(np.float32))


class Train:
    """Items of training; each pass has other ones."""

    def __init__(self, count: int = 6, samples: int = 4000) -> None:
        self.count, self.samples = count, samples

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, number_of_pass: int) -> Pair:
        return pair(1000 * number_of_pass + index, self.samples)

    def digest(self) -> str:
        return f"{self.count} {self.samples}"


class Dev(list[Pair]):
    def digest(self) -> str:
        return f"{len(self)} pairs"


@dataclass
class Data:
    train: Train
    dev: Dev
    rate: int = RATE


def data(count: int = 6, dev: int = 2, samples: int = 4000) -> Data:
    return Data(Train(count, samples), Dev(pair(-1 - n & 0xFFFF, samples) for n in range(dev)))
