"""PReLUs and leaky ReLUs of a graph, which are one: x, or a multiple of it where it is not positive."""

from __future__ import annotations

import numpy as np
from torch import Tensor, fx, nn

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
    if node.op == "call_module":
        return _of_module(region.get_submodule(str(node.target)))
    name = name_of(node) if node.op in ("call_function", "call_method") else ""
    if name == "leaky_relu":
        return np.array([argument(node, 1, "negative_slope", _SLOPE)], np.float32)
    weight = argument(node, 1, "weight") if name == "prelu" else None
    if not isinstance(weight, fx.Node) or not is_constant(weight):
        return None
    return _values(constant(weight, region))


def _of_module(module: nn.Module) -> np.ndarray | None:
    if isinstance(module, nn.LeakyReLU):
        return np.array([module.negative_slope], np.float32)
    return _values(module.weight) if isinstance(module, nn.PReLU) else None


def _values(weight: Tensor) -> np.ndarray:
    return weight.detach().float().flatten().numpy().copy()
