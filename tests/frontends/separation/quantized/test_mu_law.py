"""Companding: there and back, what it is for, and what mu may be."""

from __future__ import annotations

import math

import pytest
import torch

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.quantized.mu_law import MuLaw


@pytest.mark.parametrize("mu", [0.5, 1.0, 255.0, 1e4])
def test_there_and_back(mu: float) -> None:
    law = MuLaw(mu=mu)
    x = torch.linspace(-1, 1, 201)
    compressed = law.compressed(x)
    wanted = [math.copysign(math.log1p(mu * abs(value)) / math.log1p(mu), value) for value in x.tolist()]
    torch.testing.assert_close(compressed, torch.tensor(wanted), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(law.expanded(compressed), x, rtol=1e-4, atol=1e-6)


def test_soft_signals_have_finer_steps() -> None:
    x = torch.linspace(-0.01, 0.01, 101)
    errors = [float((law(x) - x).abs().max()) for law in (MuLaw(8, 1e-4), MuLaw(8, 255.0))]
    # The smallest mu is as good as none.
    assert errors[0] == pytest.approx(1 / 256, rel=0.1) and errors[1] < 3e-4
    assert len(MuLaw(4)(torch.linspace(-2, 2, 999)).unique()) == 16


def test_mu_is_learned_if_it_shall_be() -> None:
    x = 0.02 * torch.randn(1000, generator=torch.Generator().manual_seed(0))
    law = MuLaw(6, 4.0, learned=True)
    optimizer = torch.optim.SGD(law.parameters(), lr=1.0)
    losses = []
    for _ in range(5):
        loss = ((law(x) - x).square().mean() / x.square().mean()).sqrt()
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        assert law.log_mu.grad is not None
        law.log_mu.data += 0.7
    assert losses[-1] < losses[0]
    assert not MuLaw(6).log_mu.requires_grad


@pytest.mark.parametrize("mu", [0.0, -1.0, math.inf, math.nan])
def test_no_other_mu(mu: float) -> None:
    with pytest.raises(UsageError, match="expected a mu above 0"):
        MuLaw(mu=mu)
