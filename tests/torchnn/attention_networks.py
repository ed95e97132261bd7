"""Small networks with products of two values: attention of all kinds, fixed and random."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class SelfAttention(nn.Module):
    """Attention as torch's module, between layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.attention = nn.Linear(5, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x + self.attention(x, x, x, need_weights=False)[0])


class Dot(nn.Module):
    """Attention by torch's function, queries, keys and values of one layer.

    Args:
        heads: of queries.
        options: of the function.
    """

    def __init__(self, heads: int = 2, **options: Any) -> None:
        super().__init__()
        self.heads, self.options = heads, options
        self.all, self.out = nn.Linear(6, 24), nn.Linear(8, 4)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.all(x).unflatten(-1, (3, self.heads, 8 // self.heads)).permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, **self.options)
        return self.out(found.transpose(1, 2).flatten(2))


class Matrices(nn.Module):
    """Products with a ReLU behind, of several values side by side, of the input itself, and as terms of a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k = nn.Linear(6, 4), nn.Conv1d(6, 4, 3, padding=1)
        self.middle, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores = torch.bmm(self.q(x), self.k(x.transpose(1, 2))).relu()
        beside = torch.cat([x, self.middle(x)], 1)
        return self.last(torch.cat([scores, scores.flip(-1)], 2) @ beside + self.middle(x))


@dataclass
class AttentionNetwork:
    """A network and what it is called with.

    Args:
        seed: that it was made from.
        network: in test mode.
        example: float32, (N, T, C), or (T, N, C).
    """

    seed: int
    network: nn.Module
    example: Tensor

    def inputs(self, number: int) -> list[Tensor]:
        """More inputs of the example's sizes, some of them far beyond the others."""
        generator = torch.Generator().manual_seed(self.seed)
        sizes = [1.0, 1.5, 0.0, 20.0]
        return [torch.randn(self.example.shape, generator=generator) * sizes[i % len(sizes)] for i in range(number)]


def random_attention(number: int, first: int = 0) -> Iterator[AttentionNetwork]:
    """Networks with seeds from ``first`` on: of extreme weights now and then."""
    for seed in range(first, first + number):
        torch.manual_seed(seed)
        pick = random.Random(seed)
        # LayerNorm of two values gives ones, which lie at the middle of steps.
        heads, size = pick.randint(1, 3), pick.randint(3, 5)
        width, batch_first = heads * size, pick.random() < 0.7
        options = {"batch_first": batch_first, "norm_first": pick.random() < 0.5, "bias": pick.random() < 0.7}
        layer = nn.TransformerEncoderLayer(
            width, heads, pick.randint(1, 9), activation=pick.choice(["relu", "gelu"]), **options
        )
        stack = nn.TransformerEncoder(layer, pick.randint(1, 2), enable_nested_tensor=False)
        own = Own(width, heads, pick.random() < 0.5)
        network = nn.Sequential(nn.Linear(3, width), pick.choice([stack, layer, own]), nn.Linear(width, 2)).eval()
        with torch.no_grad():
            for parameter in network.parameters():
                if pick.random() < 0.2:
                    parameter.mul_(torch.pow(10.0, torch.randint(-2, 2, parameter.shape)))
                elif pick.random() < 0.1:
                    parameter.zero_()
        yield AttentionNetwork(seed, network, torch.randn(2, pick.randint(1, 6), 3))


class Own(nn.Module):
    """Attention as users write it, with residual sums."""

    def __init__(self, width: int, heads: int, is_causal: bool) -> None:
        super().__init__()
        self.heads, self.is_causal = heads, is_causal
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = (part(x).view(n, t, self.heads, -1).transpose(1, 2) for part in (self.q, self.k, self.v))
        if self.is_causal:
            found = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            found = (q @ k.mT / 3).softmax(-1) @ v
        return x + found.transpose(1, 2).reshape(n, t, -1)
