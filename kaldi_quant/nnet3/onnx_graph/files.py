"""ONNX graphs of networks: how they are written, and what they read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kaldi_quant.backends.onnx.parameters import WeightForm

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class GraphOptions:
    """How the graph is written.

    Args:
        period: frames between outputs.
        form: how weights are stored.
        align: hidden layers are padded to a multiple of so many columns; the kernels like 4.
        flat: whether the output has no batch axis, (batch * outputs, pdfs), which saves a copy of it.
        outputs: how many rows of output there are of one sequence; None for any number of any number of sequences.
        ivector_rows: whether i-vectors are given for each frame that reads one, and not one for all.
    """

    period: int = 1
    form: WeightForm = "signed"
    align: int = 1
    flat: bool = False
    outputs: int | None = None
    ivector_rows: bool = False


@dataclass(frozen=True)
class OnnxNetwork:
    """An ONNX graph and what its input must hold.

    Inputs: ``input`` (batch, frames, dim) float32, ``ivector`` (batch, dim) float32 where the network has it. Output:
    ``output`` (batch, outputs, pdfs) float32. For n outputs the input holds
    left_context + (n - 1) * period + 1 + right_context frames.

    Args:
        model: the graph.
        left_context: frames before the first output.
        right_context: frames after the last output.
        period: frames between outputs.
    """

    model: onnx.ModelProto
    left_context: int
    right_context: int
    period: int

    def frames(self, outputs: int) -> int:
        """Input frames for so many outputs."""
        return self.left_context + (outputs - 1) * self.period + 1 + self.right_context
