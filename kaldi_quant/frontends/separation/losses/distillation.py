"""How much a quantized network learns from the float one, and from which samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from kaldi_quant.errors import UsageError

#: Samples that quantization hurts count less, or more, or all count alike.
Heed = Literal["hurt-less", "hurt-more", "alike"]
#: Of a weight: how a decibel counts.
Base = Literal["10", "e"]
#: What has a weight of its own.
Each = Literal["sample", "source"]
#: Of SI-SDR, what is mixed with the sources' part of the loss, and weighted: ratios, or their decibels.
Mix = Literal["ratios", "decibels"]


@dataclass(frozen=True)
class Distillation:
    """Distillation that heeds what quantization hurts (FQSS, doi 10.1109/OJSP.2024.3425287).

    A sample's weight depends on how many decibels d its output lost in the quantized network, by SI-SDR or, for
    losses that know levels, by the ratio of source to error. With ``hurt-less`` it is ``base ** (-d / 10)``, with
    ``hurt-more`` ``base ** (d / 10)``. Weights have no gradient.

    The defaults are those of FQSS for speech. For music it has ``hurt-more``; for HTDemucs also the base e and weights
    by source.

    Ratios of outputs to float estimates are often a hundred times those to sources. Mixed as ratios, as FQSS has it,
    a small share counts far more than its name says until both networks agree; mixed as decibels it is what it says.

    Args:
        share: of the loss against the float network, from 0 to 1.
        heed: which samples count more.
        base: "10" or "e".
        each: whether a sample has a weight, or each source of it.
        most: weights are at most this and at least its inverse.
        mix: of losses by SI-SDR.

    Raises:
        UsageError: a value is none of these.

    Example:
        >>> Distillation(heed="hurt-more").weights(torch.tensor([[12.0]]), torch.tensor([[9.0]]))
        tensor([[1.9953]])
    """

    share: float = 0.1
    heed: Heed = "hurt-less"
    base: Base = "10"
    each: Each = "sample"
    most: float = 10.0
    mix: Mix = "ratios"

    def __post_init__(self) -> None:
        for name, kind in (("heed", Heed), ("base", Base), ("each", Each), ("mix", Mix)):
            if getattr(self, name) not in get_args(kind):
                known = ", ".join(get_args(kind))
                raise UsageError(f"distillation: {name} is one of {known}, found {getattr(self, name)!r}")
        if not 0 <= self.share <= 1:
            raise UsageError(f"distillation: expected a share from 0 to 1, found {self.share}")
        if not 1 <= self.most < math.inf:
            raise UsageError(f"distillation: expected the most that a weight may be, at least 1, found {self.most}")

    @torch.no_grad()
    def weights(self, of_float: Tensor, of_quantized: Tensor) -> Tensor:
        """The weights of samples and sources.

        Args:
            of_float: (N, S) in dB, of what the float network makes; higher is better.
            of_quantized: (N, S) in dB, of what the quantized one makes.

        Returns:
            (N, S).
        """
        if self.heed == "alike":
            return torch.ones_like(of_float)
        lost = of_float - of_quantized
        if self.each == "sample":
            lost = lost.mean(1, keepdim=True).expand_as(lost)
        exponent = lost / 10 * (math.log(10) if self.base == "10" else 1.0)
        limit = math.log(self.most)
        return (exponent if self.heed == "hurt-more" else -exponent).clamp(-limit, limit).exp()
