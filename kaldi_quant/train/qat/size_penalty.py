"""A penalty on the size of a network whose widths are learned, which makes it meet a budget.

Source: L. Yang, Q. Jin, "FracBits: mixed precision quantization via fractional bit-widths", AAAI 2021 (a penalty on the
excess over the budget). Its weight follows the excess, as in the method of multipliers: M. R. Hestenes, "Multiplier and
gradient methods", Journal of Optimization Theory and Applications 4, 1969.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from kaldi_quant.quant.host import Executable
from kaldi_quant.train.loss import Loss
from kaldi_quant.train.qat.mixed_widths import WidthShares
from kaldi_quant.train.steps import Source

# The temperature falls from 1 at the first pass to this at the last.
_LAST_TEMPERATURE = 0.3
# How the price of a bit follows the budget: see ``SizePenalty``.
_STIFFNESS, _PRICE_RATE = 1.0, 0.1


class SizePenalty:
    """A price on bits that makes the expected mean width meet a budget (method of multipliers).

    With the excess e = mean width / budget - 1 the penalty is price * e + stiffness / 2 * e². At every step the price
    rises by a share of the excess, or falls, but never below zero.

    Args:
        shares: of the widths, with the budget.
    """

    def __init__(self, shares: WidthShares) -> None:
        self.shares = shares
        self.price = torch.zeros(())

    def __call__(self) -> Tensor:
        """(): the penalty of now, with gradient; the price is then changed for the next step."""
        excess = self.shares.mean_bits() / self.shares.mean - 1
        penalty = float(self.price) * excess + _STIFFNESS / 2 * excess.square()
        self.price.add_(_PRICE_RATE * float(excess.detach())).clamp_(min=0)
        return penalty

    def freeze(self, frozen: bool) -> None:
        """The price goes on following the budget: nothing to do."""

    def tensors(self) -> dict[str, Tensor]:
        """What changes beside parameters."""
        return {"price": self.price, "temperature": self.shares.temperature}


class PenalizedSource:
    """A ``Source`` whose losses have the penalty added; the temperature falls from pass to pass.

    The penalty is the same in all processes of a group: it is the same in the mean over the whole minibatch.

    Args:
        source: of the losses.
        penalty: what is added.
    """

    def __init__(self, source: Source, penalty: SizePenalty) -> None:
        self.source, self.penalty = source, penalty
        self.describe, self.validate = source.describe, source.validate
        self.objective, self.score = source.objective, source.score

    def __len__(self) -> int:
        """As many passes as the source has."""
        return len(self.source)

    @property
    def has_held_out(self) -> bool:
        """Whether the source has held-out examples."""
        return self.source.has_held_out

    def losses(self, number: int, model: Executable) -> Iterator[Loss]:
        """The loss of each minibatch, with the penalty, and the expected mean width as one of its parts."""
        shares = self.penalty.shares
        shares.temperature.fill_(_LAST_TEMPERATURE ** (number / max(1, len(self) - 1)))
        for loss in self.source.losses(number, model):
            bits = float(shares.mean_bits().detach())
            penalty = self.penalty()
            sums = {**loss.sums, "bits": bits * loss.weight} if loss.weight else loss.sums
            yield replace(loss, value=loss.value + penalty.to(loss.value.device), sums=sums)
