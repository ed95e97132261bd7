"""Minibatches with float estimates: computed once each, the same again, and told from others."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.frontends.separation.schemes.taught import Taught
from kaldi_quant.torchnn.batches import Passes
from tests.frontends.separation.quantized.toys import Toy, made, mixtures

PAIRS = [(x, torch.stack([x, -x], 1)) for x in mixtures(3)]


class Drawn(Passes):
    """Other minibatches on each pass."""

    def __len__(self) -> int:
        return 2

    def minibatches(self, number: int) -> Iterator[Any]:
        for x in mixtures(2, seed=number):
            yield x, torch.stack([x, x], 1)

    def digest(self) -> str:
        return "drawn"


class Counted(nn.Module):
    """A network that counts its calls, and is another one in training."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[bool] = []
        self.factor = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(torch.is_grad_enabled() or self.training)
        return torch.stack([x, x], 1) * self.factor


def test_each_minibatch_is_taught_once_without_gradients() -> None:
    teacher = Counted().train()
    taught = Taught(Drawn(), teacher)
    found = list(taught.minibatches(3))
    assert taught.teacher.calls == [False, False] and teacher.calls == [] and teacher.training
    for (mixture, (sources, estimates)), expected in zip(found, mixtures(2, seed=3), strict=True):
        assert torch.equal(mixture, expected)
        assert torch.equal(sources, torch.stack([expected, expected], 1))
        assert torch.equal(estimates, sources / 2) and not estimates.requires_grad
    assert len(taught) == 2
    # The teacher was copied.
    teacher.factor.data.fill_(9.0)
    assert torch.equal(next(iter(taught.minibatches(3)))[1][1], found[0][1][1])


def test_pairs_come_in_another_order_on_each_pass() -> None:
    taught = Taught(PAIRS, made())
    orders = [[float(x[0].sum()) for x in taught.minibatches(number)] for number in (0, 1, 2, 3, 0)]
    assert orders[0] == orders[-1] and len({tuple(order) for order in orders}) > 1
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    (held_out,) = taught.held_out(PAIRS[:1])
    assert torch.equal(held_out[1][0], PAIRS[0][1])


def test_the_digest_tells_teachers_and_minibatches_apart() -> None:
    network = made()
    other = copy.deepcopy(network)
    other.decoder.weight.data[0, 0, 0] += 1e-3
    found = [
        Taught(*each).digest() for each in ((PAIRS, network), (PAIRS, other), (PAIRS[:2], network), (Drawn(), network))
    ]
    assert len(set(found)) == 4
    assert found[0] == Taught(list(PAIRS), copy.deepcopy(network)).digest()


def test_what_cannot_be_taught() -> None:
    with pytest.raises(UsageError, match="there is nothing to distil from"):
        Taught([], made())
    with pytest.raises(DataError, match=r"makes \(2, 3, 1, 400\) of mixtures whose sources are \(2, 2, 1, 400\)"):
        next(iter(Taught(PAIRS, made(Toy, sources=3)).minibatches(0)))
