"""``torch.nn.MultiheadAttention``, written so that its products can be traced.

The weights of its four projections are the layer's own, so that they are layers for the quantizer. The scores, products
of queries and keys, and the sums of values weighted by them are products of two values. Scores are scaled after they
are added up, so that queries lie on the grid of what their projection computes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.torchnn import masks
from kaldi_quant.torchnn.recurrent import linear_of, options_of


class Attention(nn.Module):
    """Attention of several heads, as ``torch.nn.MultiheadAttention`` in test mode.

    Source: A. Vaswani et al., "Attention is all you need", NeurIPS 2017.

    Args:
        module: whose parameters and options it has; without ``add_bias_kv`` and ``add_zero_attn``.
    """

    num_heads: int
    head_dim: int
    batch_first: bool

    def __init__(self, module: nn.MultiheadAttention) -> None:
        super().__init__()
        for name, value in options_of(module):
            setattr(self, name, value)
        weights = [module.q_proj_weight, module.k_proj_weight, module.v_proj_weight]
        if module.in_proj_weight is not None:
            weights = [nn.Parameter(weight.detach()) for weight in module.in_proj_weight.chunk(3)]
        biases: list[Any] = [None] * 3
        if module.in_proj_bias is not None:
            biases = [nn.Parameter(bias.detach()) for bias in module.in_proj_bias.chunk(3)]
        self.q_proj, self.k_proj, self.v_proj = map(linear_of, weights, biases)
        self.out_proj = linear_of(module.out_proj.weight, module.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As of torch's module.

        Args:
            query: (N, L, E), (L, N, E) if not ``batch_first``, or (L, E).
            key: likewise, with S in the place of L.
            value: as key.
            key_padding_mask: (N, S) or (S,): where it is true, keys are left out; or numbers that scores are added to.
            need_weights: whether weights are returned, too.
            attn_mask: (L, S) or (N * heads, L, S), likewise.
            average_attn_weights: whether the weights are their means over heads.
            is_causal: a hint about ``attn_mask``, which is not needed here.
        """
        is_batch = query.dim() == 3
        if not is_batch:
            query, key, value = (x.unsqueeze(0) for x in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        queries, keys, values = (
            product(x).unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)
            for product, x in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        scores = torch.matmul(queries, keys.transpose(-2, -1)) * self.head_dim**-0.5
        if attn_mask is not None:
            by_head = attn_mask.dim() == 3
            scores = masks.masked(scores, attn_mask.unflatten(0, (-1, self.num_heads)) if by_head else attn_mask)
        if key_padding_mask is not None:
            scores = masks.masked(scores, key_padding_mask.unsqueeze(1).unsqueeze(1))
        # Where no key is left, torch's weights are no numbers, but its result without weights is one.
        is_safe = need_weights or (attn_mask is None and key_padding_mask is None)
        weights = functional.softmax(scores, dim=-1) if is_safe else masks.masked_softmax(scores)
        result = self.out_proj(torch.matmul(weights, values).transpose(1, 2).flatten(2))
        if not is_batch:
            result = result.squeeze(0)
        elif not self.batch_first:
            result = result.transpose(0, 1)
        if not need_weights:
            return result, None
        weights = weights.mean(dim=1) if average_attn_weights else weights
        return result, weights if is_batch else weights.squeeze(0)
