"""Companding: what is soft has finer steps than what is loud."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kaldi_quant.errors import UsageError
from kaldi_quant.torchnn.on_grid import on_grid
from kaldi_quant.units import Bits

# That of telephony.
_MU = 255.0


class MuLaw(nn.Module):
    """Signals of at most 1 on a grid after the mu-law, then back (ITU-T G.711, with any mu above 0).

    Args:
        bits: of the grid.
        mu: how much finer soft signals are; that of telephony by default.
        learned: whether mu is trained with a float network. ``kaldi_quant.qat`` trains layers and grids, and keeps it.

    Raises:
        UsageError: mu is not positive.
    """

    def __init__(self, bits: Bits = 8, mu: float = _MU, learned: bool = False) -> None:
        super().__init__()
        if not 0 < mu < math.inf:
            raise UsageError(f"mu-law: expected a mu above 0, found {mu:g}")
        self.bits = bits
        self.log_mu = nn.Parameter(torch.tensor(math.log(mu)), requires_grad=learned)

    @property
    def mu(self) -> Tensor:
        """() float32, positive."""
        return self.log_mu.exp()

    def compressed(self, x: Tensor) -> Tensor:
        """sign(x) ln(1 + mu |x|) / ln(1 + mu), which is from -1 to 1 where x is."""
        mu = self.mu
        return torch.sign(x) * (torch.log(torch.abs(x) * mu + 1) / torch.log(mu + 1))

    def expanded(self, y: Tensor) -> Tensor:
        """The inverse: sign(y) ((1 + mu)^|y| - 1) / mu."""
        mu = self.mu
        return torch.sign(y) * ((torch.exp(torch.abs(y) * torch.log(mu + 1)) - 1) / mu)

    def forward(self, x: Tensor) -> Tensor:
        """x, any shape, with the rounding of the grid; louder signals are clipped at 1."""
        half = 1 << (self.bits - 1)
        return self.expanded(on_grid(self.compressed(x), self.bits, 1 / half, half))

    def extra_repr(self) -> str:
        """What it was made with."""
        return f"bits={self.bits}, mu={float(self.mu):g}"
