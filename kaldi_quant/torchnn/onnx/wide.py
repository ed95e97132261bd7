"""What is computed in 64 bits, as ``rounded_once`` has it."""

from __future__ import annotations

from typing import Any

import numpy as np

from kaldi_quant.backends.onnx.writer import DOUBLE, FLOAT, Name
from kaldi_quant.torchnn.onnx.operation import Operation


class Wide:
    """Operators in 64 bits, whose result is rounded to 32 once.

    Args:
        operation: whose operators they are.
    """

    def __init__(self, operation: Operation) -> None:
        self.operation = operation

    def of(self, x: Name) -> Name:
        """A value of 32 bits."""
        return self.operation.op("Cast", [x], to=DOUBLE)

    def op(self, kind: str, *operands: Name | float, **attributes: Any) -> Name:
        """An operator; numbers are constants of 64 bits."""
        constant = self.operation.writer.constant
        wide = [constant(np.float64(x)) if isinstance(x, float) else x for x in operands]
        return self.operation.op(kind, wide, **attributes)

    def rounded(self, x: Name) -> Name:
        """A value in 32 bits."""
        return self.operation.op("Cast", [x], to=FLOAT)
