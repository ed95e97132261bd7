"""What is computed in 64 bits, as ``rounded_once`` has it."""

from __future__ import annotations

from typing import Any

import numpy as np

from kaldi_quant.backends.onnx.writer import DOUBLE, FLOAT, GraphWriter, Name


class Wide:
    """Operators in 64 bits, whose result is rounded to 32 once.

    Args:
        writer: of the graph that they are in.
    """

    def __init__(self, writer: GraphWriter) -> None:
        self.writer = writer

    def of(self, x: Name) -> Name:
        """A value of 32 bits."""
        return self.writer.op("Cast", [x], to=DOUBLE)

    def op(self, kind: str, *operands: Name | float, **attributes: Any) -> Name:
        """An operator; numbers are constants of 64 bits."""
        wide = [self.writer.constant(np.float64(x)) if isinstance(x, float) else x for x in operands]
        return self.writer.op(kind, wide, **attributes)

    def rounded(self, x: Name) -> Name:
        """A value in 32 bits."""
        return self.writer.op("Cast", [x], to=FLOAT)

    def function(self, kind: str, x: Name, **attributes: Any) -> Name:
        """An operator of a value of 32 bits, in 32 bits."""
        return self.rounded(self.op(kind, self.of(x), **attributes))
