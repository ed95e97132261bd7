"""A function that networks call to say on which grid a value of theirs lies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.overrides import handle_torch_function, has_torch_function_unary

from kaldi_quant.quant.declared_grid import DeclaredGrid
from kaldi_quant.units import Bits


class _Fixed(torch.autograd.Function):
    """Rounds to a grid; the gradient passes where the value is within its range."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, declared: DeclaredGrid) -> Tensor:
        grid = declared.grid()
        low, high = ((end - declared.zero_point) * declared.scale for end in (grid.spec.qmin, grid.spec.qmax))
        half = declared.scale / 2
        ctx.save_for_backward((x >= low - half) & (x <= high + half))
        return grid.fake(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return grad_outputs[0] * inside, None


def on_grid(x: Tensor, bits: Bits, scale: float = 0.0, zero_point: int = 0) -> Tensor:
    """Says that a value lies on an integer grid: one that is given here, or one that the quantizer finds.

    With a scale, x is rounded to (integer - zero_point) * scale, integers from 0 to 2^bits - 1, in float networks, too;
    in a quantized network the value has exactly this grid, whatever the calibration set, and training keeps it. What is
    on the grid already goes through unchanged. Without a scale x stays as it is in float; in a quantized network it is
    put on a grid of this width, also where no layer reads it, as an output of the network.

    Args:
        x: float, any shape.
        bits: 2 to 16.
        scale: the step; 0 for a grid that is found.
        zero_point: the integer of 0.

    Raises:
        UsageError: there is no such grid.

    Example:
        >>> on_grid(torch.tensor([0.1, -2.0]), 8, 1 / 128, 128)
        tensor([ 0.1016, -1.0000])
    """
    if has_torch_function_unary(x):
        # Traced, it is one node.
        return handle_torch_function(on_grid, (x,), x, bits, scale, zero_point)
    declared = DeclaredGrid(bits, scale, zero_point)
    return _Fixed.apply(x, declared) if declared.is_fixed else x


def declared_by(node: fx.Node) -> DeclaredGrid | None:
    """The grid that a node of a traced graph declares; None for nodes that declare none."""
    if node.op != "call_function" or node.target is not on_grid:
        return None
    return DeclaredGrid(*node.args[1:], **{name: value for name, value in node.kwargs.items() if name != "x"})  # type: ignore[arg-type]
