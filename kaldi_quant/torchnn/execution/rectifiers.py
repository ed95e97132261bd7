"""PReLUs and leaky ReLUs of a graph, which are one: x, or a multiple of it where it is not positive."""

from __future__ import annotations

import numpy as np
from torch import fx

from kaldi_quant.torchnn.computation import constant
from kaldi_quant.torchnn.graph_nodes import argument, is_constant, name_of
from kaldi_quant.torchnn.region import Region

# Of ``leaky_relu``, by torch.
_SLOPE = 0.01


def slope_of(node: fx.Node, region: Region) -> np.ndarray | None:
    """By what a node multiplies values that are not positive.

    Args:
        node: in question.
        region: has the network's tensors.

    Returns:
        (1,) or, for channels with slopes of their own, (channels,) float32; None for other nodes.
    """
    name = name_of(node) if node.op in ("call_function", "call_method") else ""
    if name == "leaky_relu":
        return np.array([argument(node, 1, "negative_slope", _SLOPE)], np.float32)
    weight = argument(node, 1, "weight") if name == "prelu" else None
    if not isinstance(weight, fx.Node) or not is_constant(weight):
        return None
    return constant(weight, region).detach().float().flatten().numpy().copy()
