"""Functions of torch that hide products of two values, written out so that these can be traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kaldi_quant.torchnn import masks


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``scaled_dot_product_attention`` without dropout; scores are scaled after they are added up.

    Args:
        query: (..., L, E).
        key: (..., S, E).
        value: (..., S, V).
        attn_mask: broadcasts with (..., L, S); where it is false, keys are left out; or numbers that are added.
        dropout_p: 0.
        is_causal: whether keys after the query's place are left out.
        scale: of the scores; by default E ** -0.5.
        enable_gqa: whether a head of keys and values serves several heads of queries.
    """
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    scores = torch.matmul(query, key.transpose(-2, -1)) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if attn_mask is not None:
        scores = masks.masked(scores, attn_mask if attn_mask.is_floating_point() else attn_mask.logical_not())
    if is_causal:
        scores = masks.without_later_keys(scores)
    weights = torch.softmax(scores, -1) if attn_mask is None else masks.masked_softmax(scores)
    return torch.matmul(weights, value)


def written_out(function: Any, args: tuple, kwargs: dict[str, Any]) -> Callable[..., Any] | None:
    """The function that computes the same as another one called with these arguments; None for all others."""
    if function is not functional.scaled_dot_product_attention:
        return None
    dropout = args[4] if len(args) > 4 else kwargs.get("dropout_p", 0.0)
    # With dropout it is another one at every call.
    return attention if isinstance(dropout, int | float) and dropout == 0 else None
