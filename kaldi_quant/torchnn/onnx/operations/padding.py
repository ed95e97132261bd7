"""Values put around others."""

from __future__ import annotations

import numpy as np

from kaldi_quant.backends.onnx.writer import Name
from kaldi_quant.torchnn.onnx.operation import Operation, adds
from kaldi_quant.torchnn.onnx.operations.slices import cut
from kaldi_quant.torchnn.onnx.sizes import END, Number

_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


@adds("pad")
def pad(operation: Operation) -> Name:
    """Of a constant, or of what is there."""
    mode = operation.argument(2, "mode", "constant")
    amounts = list(operation.argument(1, "pad"))
    if mode == "circular":
        return _circular(operation, amounts)
    if mode not in _MODES:
        operation.refuse(f"has no ONNX form with the mode {mode}")
    rank = len(operation.before)
    before: list[Number] = [0] * rank
    after: list[Number] = [0] * rank
    for place in range(len(amounts) // 2):
        before[rank - 1 - place], after[rank - 1 - place] = amounts[2 * place], amounts[2 * place + 1]
    inputs = [operation.x, operation.sizes.vector([*before, *after])]
    if mode == "constant":
        value = operation.argument(3, "value")
        # Zero is a whole number of steps on a grid; other constants are not put around integers.
        inputs.append(operation.writer.constant(np.float32(value) if value else operation.zero))
    return operation.op("Pad", inputs, mode=_MODES[mode])


def _circular(operation: Operation, amounts: list[Number]) -> Name:
    x, rank = operation.x, len(operation.before)
    for place in range(len(amounts) // 2):
        axis, before, after = rank - 1 - place, amounts[2 * place], amounts[2 * place + 1]
        if not isinstance(before, int) or not isinstance(after, int) or min(before, after) < 0:
            operation.refuse("has no ONNX form with such amounts")
        parts = [cut(operation, x, axis, -before, END)] if before else []
        parts.append(x)
        parts += [cut(operation, x, axis, 0, after)] if after else []
        x = operation.op("Concat", parts, axis=axis) if len(parts) > 1 else x
    return x
