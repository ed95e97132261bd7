"""Sums, means and largest values over axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from kaldi_quant.torchnn.onnx_import.operator import Operator, adds

# The function, and since which operator set axes are an input.
_REDUCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "ReduceMean": (torch.mean, 18),
    "ReduceSum": (torch.sum, 13),
    "ReduceMax": (torch.amax, 18),
    "ReduceMin": (torch.amin, 18),
    "ReduceSumSquare": (torch.sum, 18),
    "ReduceL2": (torch.sum, 18),
}


@adds(*_REDUCTIONS)
def reduction(operator: Operator) -> fx.Node:
    """Over some axes, or all."""
    compute, since = _REDUCTIONS[operator.kind]
    axes, keeps = operator.integers(1, "axes", since), bool(operator.attribute("keepdims", 1))
    leaves_all = operator.attribute("noop_with_empty_axes", 0)
    x = operator.x
    if not axes:
        if leaves_all and operator.kind not in ("ReduceSumSquare", "ReduceL2"):
            return x
        axes = list(range(operator.rank()))
    if operator.kind in ("ReduceSumSquare", "ReduceL2"):
        x = operator.call(torch.mul, x, x)
    found = operator.call(compute, x, tuple(axes), keeps)
    return operator.call(torch.sqrt, found) if operator.kind == "ReduceL2" else found
