"""Features in pieces that overlap by half, and put together again.

All of it is padding, slicing and reshaping by sizes, so that a traced network takes inputs of any length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def overlap_add(frames: Tensor, size: int) -> Tensor:
    """Adds frames up, each half a frame behind the one before.

    Args:
        frames: (..., T, size).
        size: of a frame, even.

    Returns:
        (..., (T + 1) * size / 2).
    """
    half = size // 2
    earlier = functional.pad(frames[..., :half], (0, 0, 0, 1))
    later = functional.pad(frames[..., half:], (0, 0, 1, 0))
    return (earlier + later).flatten(-2)


def chunked(x: Tensor, size: int) -> Tensor:
    """Chunks that overlap by half, with zeros before and behind: each value is in two of them.

    As ``split_feature`` of DPTNet and ``_Segmentation`` of speechbrain's ``Dual_Path_Model`` do it.

    Args:
        x: (N, C, T).
        size: of a chunk, even.

    Returns:
        (N, C, S, size), S chunks.
    """
    half = size // 2
    behind = size - (half + x.shape[-1] % size) % size
    halves = functional.pad(x, (half, behind + half)).unflatten(-1, (-1, half))
    return torch.cat([halves[:, :, :-1], halves[:, :, 1:]], -1)


def merged(chunks: Tensor, size: int, frames: int) -> Tensor:
    """What ``chunked`` has taken apart, added up where chunks overlap: (N, C, S, size) to (N, C, frames)."""
    return overlap_add(chunks, size)[..., size // 2 : size // 2 + frames]


def of_each(layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer for sequences (N, T, C) gives for each of several ones: (N, several, T, C) to (N, several, T, C)."""
    return layer(x.flatten(0, 1)).unflatten(0, (-1, x.shape[1]))
