"""What training minimises on a minibatch, and means over many."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from kaldi_quant.errors import DataError
from kaldi_quant.train.parallel.distributed import Group


@dataclass
class Loss:
    """The loss of a minibatch.

    Args:
        value: (), the sum over frames, each as its supervision weighs it, divided by their number.
        sums: parts of the objective, by name, summed over frames.
        weight: how many frames these count as.
        frames: how many there are.
        sequences: of the minibatch.
        ok: False where it is no finite number, and the minibatch is to be left out.
    """

    value: Tensor
    sums: dict[str, float]
    weight: float
    frames: int
    sequences: int
    ok: bool

    @classmethod
    def none(cls) -> Loss:
        """Of a minibatch of which a process has no share."""
        return cls(torch.zeros(()), {}, 0.0, 0, 0, True)


def mean(losses: Iterable[Loss], group: Group) -> dict[str, float]:
    """The mean over frames of each part of the objective, of the losses of all processes together.

    Raises:
        DataError: the frames count as none.
    """
    sums: dict[str, float] = {}
    weight = 0.0
    for loss in losses:
        weight += loss.weight
        add(loss.sums, sums)
    total: dict[str, float] = {}
    parts = group.gather([sums, weight])
    for part, _ in parts:
        add(part, total)
    frames = sum(part for _, part in parts)
    if not frames:
        raise DataError("the weights of the held-out examples sum up to 0")
    return {name: value / frames for name, value in total.items()}


def add(values: dict[str, float], sums: dict[str, float]) -> None:
    """Adds values to sums, each to that of its name."""
    for name, value in values.items():
        sums[name] = sums.get(name, 0.0) + value
