"""Functions of torch that hide products of two values, written out so that these can be traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from kaldi_quant.torchnn import masks
from kaldi_quant.torchnn.einsum import MatrixProduct
from kaldi_quant.torchnn.graph_nodes import is_constant


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


def added_to(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``baddbmm``: beta input + alpha batch1 batch2; with a beta of zero whatever ``input`` holds."""
    product = torch.matmul(batch1, batch2) * alpha
    return product if beta == 0 else input * beta + product


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``linear`` by a weight that is computed from the input."""
    product = torch.matmul(input, weight.transpose(-2, -1))
    return product if bias is None else product + bias


def written_out(function: Any, args: tuple, kwargs: dict[str, Any]) -> Callable[..., Any] | None:
    """The function that computes the same as another one called with these arguments; None where there is none.

    Args:
        function: in question.
        args: of its call, stand-ins for tensors.
        kwargs: likewise.
    """
    return _WRITTEN_OUT[function](args, kwargs) if function in _WRITTEN_OUT else None


def _attention(args: tuple, kwargs: dict[str, Any]) -> Callable[..., Any] | None:
    dropout = args[4] if len(args) > 4 else kwargs.get("dropout_p", 0.0)
    # With dropout it is another one at every call.
    return attention if isinstance(dropout, int | float) and dropout == 0 else None


def _einsum(args: tuple, kwargs: dict[str, Any]) -> Callable[..., Any] | None:
    equation, *given = args
    operands = list(given[0]) if len(given) == 1 and isinstance(given[0], list | tuple) else given
    found = MatrixProduct.of(equation) if isinstance(equation, str) and len(operands) == 2 else None
    return None if found is None else lambda *_: found.compute(*operands)


def _linear(args: tuple, kwargs: dict[str, Any]) -> Callable[..., Any] | None:
    weight = args[1] if len(args) > 1 else kwargs.get("weight")
    if not isinstance(weight, fx.Proxy) or is_constant(weight.node) or weight.node.meta["value"].dim() != 2:
        return None
    return linear


_WRITTEN_OUT: dict[Any, Callable[[tuple, dict[str, Any]], Callable[..., Any] | None]] = {
    functional.scaled_dot_product_attention: _attention,
    functional.linear: _linear,
    torch.baddbmm: lambda args, kwargs: added_to,
    torch.einsum: _einsum,
}
