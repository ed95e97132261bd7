"""Moves that leave every value there, or repeat values."""

from __future__ import annotations

import numpy as np
import torch
from torch import fx

from kaldi_quant.torchnn.onnx_import.operator import Operator, Result, adds
from kaldi_quant.torchnn.onnx_import.values import Filled, is_constant


@adds("Transpose")
def transpose(operator: Operator) -> fx.Node:
    """Axes in another order."""
    order = operator.attribute("perm")
    return operator.method("permute", operator.x, tuple(order or reversed(range(operator.rank()))))


@adds("Reshape")
def reshape(operator: Operator) -> fx.Node:
    """To sizes; 0 stands for that which is there."""
    sizes = operator.sizes(1, "a shape")
    if not operator.attribute("allowzero", 0):
        sizes = [
            operator.method("size", operator.x, axis) if isinstance(size, int) and size == 0 else size
            for axis, size in enumerate(sizes)
        ]
    return operator.method("reshape", operator.x, tuple(sizes))


@adds("Flatten")
def flatten(operator: Operator) -> fx.Node:
    """All axes as two."""
    axis, x = operator.attribute("axis", 1), operator.x
    if axis == 1:
        return operator.method("flatten", x, 1)
    rank = operator.rank()
    axis = axis if axis >= 0 else axis + rank
    if axis == 0:
        return operator.method("unsqueeze", operator.method("flatten", x), 0)
    if axis == rank:
        return operator.method("unsqueeze", operator.method("flatten", x), 1)
    return operator.method("flatten", operator.method("flatten", x, axis), 0, axis - 1)


@adds("Squeeze")
def squeeze(operator: Operator) -> fx.Node:
    """Without axes of one."""
    axes = operator.integers(1, "axes", since=13)
    if axes is None:
        return operator.method("squeeze", operator.x)
    return operator.method("squeeze", operator.x, axes[0] if len(axes) == 1 else tuple(axes))


@adds("Unsqueeze")
def unsqueeze(operator: Operator) -> fx.Node:
    """With axes of one."""
    axes = operator.integers(1, "axes", since=13) or []
    if any(axis < 0 for axis in axes):
        rank = operator.rank() + len(axes)
        axes = [operator.axis(axis, rank) for axis in axes]
    x = operator.x
    for axis in sorted(axes):
        x = operator.method("unsqueeze", x, axis)
    return x


@adds("Concat")
def concat(operator: Operator) -> fx.Node:
    """Along an axis."""
    tensors = [operator.tensor(place) for place in range(len(operator.node.input))]
    return operator.call(torch.cat, tensors, operator.attribute("axis"))


@adds("Expand")
def expand(operator: Operator) -> Result:
    """Axes of one made longer."""
    sizes, found = operator.sizes(1, "a shape"), operator.value(0)
    if isinstance(found, np.ndarray) and is_constant(found) and found.size == 1 and found.ndim <= len(sizes):
        return Filled(found.reshape(-1)[0], tuple(sizes))
    # Axes of the shape that are one stay as long as they are; torch has -1 for that.
    rank = operator.rank()
    sizes = [*[1] * (rank - len(sizes)), *sizes]
    first = len(sizes) - rank
    kept = [-1 if isinstance(size, int) and size == 1 and axis >= first else size for axis, size in enumerate(sizes)]
    return operator.method("expand", operator.x, *kept)


@adds("Tile")
def tile(operator: Operator) -> fx.Node:
    """One after another."""
    return operator.method("repeat", operator.x, *operator.sizes(1, "repeats"))


@adds("DepthToSpace")
def depth_to_space(operator: Operator) -> fx.Node:
    """Channels as places."""
    operator.expect("mode", "CRD")
    return operator.call(torch.pixel_shuffle, operator.x, operator.attribute("blocksize"))
