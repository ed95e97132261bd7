"""Channels of a network that can be rescaled without any change of its output."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels that pass through the same nodes, each with a factor of its own.

    Everywhere an array tells the channel of each column or row, -1 where it belongs to no channel of this group.

    Args:
        size: the number of channels.
        nodes: for each node that carries them, (node's dimension,).
        producers: for each layer that computes them, (rows of its weight,).
        consumers: for each layer that reads them, (columns of its weight,).
        offsets: for each vector that is added on the way, (length of that vector,), by a name of the host's own.
    """

    size: int
    nodes: dict[str, np.ndarray] = field(default_factory=dict)
    producers: dict[str, np.ndarray] = field(default_factory=dict)
    consumers: dict[str, np.ndarray] = field(default_factory=dict)
    offsets: dict[str, np.ndarray] = field(default_factory=dict)
