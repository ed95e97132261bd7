"""Normalizations that networks of source separation share."""

from __future__ import annotations

from torch import nn

#: Of norms over whole recordings, in the code of all these networks.
EPSILON = 1e-8


def global_norm(channels: int) -> nn.GroupNorm:
    """Normalizes over all channels and all frames of a recording, then scales each channel ("gLN")."""
    return nn.GroupNorm(1, channels, eps=EPSILON)
