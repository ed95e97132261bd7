"""A quantized network as an ONNX file: float operators between QuantizeLinear and DequantizeLinear (QDQ).

Runtimes fuse those into integer kernels; onnxruntime then gives the integers of the reference. One file takes any
number of sequences of any length; a second, for devices that need to know all sizes, one sequence of fixed length.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kaldi_quant.atomic import atomic_write
from kaldi_quant.backends.onnx.integer_weights import check_integer
from kaldi_quant.backends.onnx.parameters import WeightForm
from kaldi_quant.backends.onnx.session import optimized_graph
from kaldi_quant.errors import ModelError
from kaldi_quant.nnet3.onnx_graph.builder import GraphOptions, build_graph
from kaldi_quant.nnet3.onnx_graph.unrolled import unroll
from kaldi_quant.quant.network import QuantizedNetwork

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class OnnxFile:
    """What a file's input must hold: for n outputs left_context + (n - 1) * period + 1 + right_context frames.

    Inputs: ``input`` (batch, frames, dim) float32, ``ivector`` (batch, dim) where the network has it. Output:
    ``output`` (batch, outputs, pdfs) float32.

    Args:
        path: the file.
        left_context: frames before the first output.
        right_context: frames after the last output.
        period: frames between outputs.
    """

    path: Path
    left_context: int
    right_context: int
    period: int

    def frames(self, outputs: int) -> int:
        """Input frames for so many outputs."""
        return self.left_context + (outputs - 1) * self.period + 1 + self.right_context


def write_onnx(
    network: QuantizedNetwork,
    path: str | os.PathLike[str],
    period: int,
    outputs: int | None = None,
    form: WeightForm = "signed",
    extra_left_context: int = 0,
    extra_right_context: int = 0,
) -> OnnxFile:
    """Writes a network as ONNX, after a look at what onnxruntime makes of it.

    Args:
        network: the quantized network.
        path: the file.
        period: frames between outputs: the frame subsampling factor.
        outputs: rows of output, where the length is to be fixed; then the batch is one sequence.
        form: how weights are stored. ``signed`` is what devices run fastest; ``exact`` is right on x86 processors
            without VNNI too, where onnxruntime's kernels for signed 8-bit weights saturate.
        extra_left_context: frames before the network's own context that a recurrence begins with, in a file of fixed
            length.
        extra_right_context: frames after it likewise.

    Raises:
        ModelError: the network has no such form; says why. Or onnxruntime would run a quantized layer in float.
        MissingDependencyError: onnx or onnxruntime is not installed.
        DataError: the file cannot be written.
    """
    extra = (extra_left_context, extra_right_context)
    model, left, right = _graph(network, period, outputs, form, extra)
    check_integer(model, optimized_graph(model), network.multiplying_floats)
    with atomic_write(path) as stream:
        stream.write(model.SerializeToString())
    return OnnxFile(Path(path), left, right, period)


def _graph(
    network: QuantizedNetwork, period: int, outputs: int | None, form: WeightForm, extra: tuple[int, int]
) -> tuple[onnx.ModelProto, int, int]:
    """The graph, and the frames that it reads before the first and after the last output."""
    if not any(extra):
        try:
            graph = build_graph(network, GraphOptions(period, form, outputs=outputs))
            return graph.model, graph.left_context, graph.right_context
        except ModelError as error:
            if outputs is None:
                raise ModelError(
                    f"{error}: it has no ONNX form with any number of frames, only with a fixed one"
                ) from error
    if outputs is None:
        raise ModelError("extra context is for an ONNX file of fixed length")
    return unroll(network, period, outputs, extra, form)
