"""Values put around others."""

from __future__ import annotations

from torch import fx
from torch.nn import functional

from kaldi_quant.torchnn.onnx_import.operator import Operator, adds
from kaldi_quant.torchnn.onnx_import.values import Number

_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


@adds("Pad")
def pad(operator: Operator) -> fx.Node:
    """Of a constant, or of what is there."""
    mode, rank = operator.attribute("mode", "constant"), operator.rank()
    if mode not in _MODES:
        operator.refuse(f"has mode = {mode!r}, which is not understood")
    amounts = operator.sizes(1, "amounts")
    axes = operator.integers(3, "axes") or list(range(rank))
    if len(amounts) != 2 * len(axes):
        operator.refuse(f"has {len(amounts)} amounts for {len(axes)} axes")
    before: list[Number] = [0] * rank
    after: list[Number] = [0] * rank
    for place, axis in enumerate(axes):
        before[operator.axis(axis, rank)], after[operator.axis(axis, rank)] = amounts[place], amounts[len(axes) + place]
    flat = [amount for pair in zip(before, after, strict=True) for amount in reversed(pair)][::-1]
    if mode == "constant":
        while len(flat) > 2 and flat[-2:] == [0, 0]:
            flat = flat[:-2]
        value = operator.number(2, "a value") if operator.has(2) else 0
        return operator.call(functional.pad, operator.x, tuple(flat), **({"value": value} if value else {}))
    # torch has these modes for places alone, behind the batch and the channels.
    if rank < 3 or any(amount != 0 for amount in flat[2 * (rank - 2) :]):
        operator.refuse(f"has mode = {mode!r} for the batch or the channels, which is not understood")
    return operator.call(functional.pad, operator.x, tuple(flat[: 2 * (rank - 2)]), mode=_MODES[mode])
