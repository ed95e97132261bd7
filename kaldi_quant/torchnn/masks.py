"""What attention does with keys that are masked.

Functions that are wrapped are one node of a traced graph each, where they are called as attributes of this module.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx

from kaldi_quant.torchnn import rounded_once


def masked(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores without those where a mask is true, or with its numbers added."""
    return scores + mask if mask.is_floating_point() else scores.masked_fill(mask, -torch.inf)


def without_later_keys(scores: Tensor) -> Tensor:
    """Scores (..., L, S), minus infinity where the key's place is after the query's."""
    later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(later, -torch.inf)


def masked_softmax(scores: Tensor) -> Tensor:
    """Weights over the last axis; zeros, as torch's own attention has, where all scores are minus infinity."""
    nothing = (scores == -torch.inf).all(-1, keepdim=True)
    return rounded_once.softmax(scores, -1).masked_fill(nothing, 0.0)


fx.wrap("without_later_keys")
fx.wrap("masked_softmax")
