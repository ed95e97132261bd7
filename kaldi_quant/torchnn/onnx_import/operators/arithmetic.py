"""Functions of two or more values, element by element, and changes of their type."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import fx

from kaldi_quant.torchnn.onnx_import.operator import Operator, Result, adds

_PAIRS: dict[str, Callable[..., Any]] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": torch.div,
    "Pow": torch.pow,
}


@adds(*_PAIRS)
def of_two(operator: Operator) -> fx.Node:
    """One and the other."""
    one, other = operator.operand(0), operator.operand(1)
    if not isinstance(one, fx.Node):
        # torch.sub and torch.div take a number in the second place alone.
        one = other if operator.kind in ("Add", "Mul") else operator.tensor(0)
        other = operator.operand(0) if operator.kind in ("Add", "Mul") else other
    if operator.kind == "Div" and operator.is_whole(0):
        operator.refuse("divides whole numbers, which is not understood")
    return operator.call(_PAIRS[operator.kind], one, other)


_SEVERAL: dict[str, Callable[..., Any]] = {"Sum": torch.add, "Max": torch.maximum, "Min": torch.minimum}


@adds(*_SEVERAL, "Mean")
def of_several(operator: Operator) -> fx.Node:
    """All, one after the other."""
    tensors = [operator.tensor(place) for place in range(len(operator.node.input))]
    compute = _SEVERAL.get(operator.kind, torch.add)
    found = reduce(lambda one, other: operator.call(compute, one, other), tensors)
    return operator.call(torch.div, found, len(tensors)) if operator.kind == "Mean" else found


@adds("Cast")
def cast(operator: Operator) -> Result:
    """To another type."""
    from onnx import helper

    operator.attribute("saturate")
    wanted = helper.tensor_dtype_to_np_dtype(operator.attribute("to"))
    dtype = getattr(torch, str(wanted), None)
    if not isinstance(dtype, torch.dtype):
        operator.refuse(f"makes values of the type {wanted}, which torch does not have")
    if dtype == torch.float32 and operator.is_float(0):
        return operator.x
    return operator.method("to", operator.x, dtype)
