"""A mask network as an ONNX file: what its input is, whether its length is fixed, whether it is quantized already."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kaldi_quant.atomic import atomic_write
from kaldi_quant.backends.onnx.reading import one_line, quantized_by, read_whole_model
from kaldi_quant.backends.onnx.session import open_session
from kaldi_quant.errors import ModelError
from kaldi_quant.units import Frames

#: The usual name of the first axis.
BATCH = "batch"
_AXES = 3
_FORM = "expected one input (batch, bins, frames) of float32"


@dataclass(frozen=True)
class MaskFile:
    """A network that gives a mask (batch, bins, frames) for magnitudes (batch, bins, frames).

    Args:
        path: of the file.
        input: its name.
        output: its name.
        frames: that it must be called with; None for any number.
        axis: the name of its last axis; empty where it has none.
        batch: 1, or the name of the first axis, where it has any size.
        quantized: what of it is quantized already; None for a float network.
    """

    path: Path
    input: str
    output: str
    frames: Frames | None
    axis: str
    batch: int | str
    quantized: str | None

    @cached_property
    def _session(self) -> Any:
        return open_session(self.path.read_bytes())

    def mask(self, magnitudes: Tensor) -> Tensor:
        """The mask of magnitudes (N, bins, T), of the length that the network takes; one after the other.

        Raises:
            ModelError: the file cannot be run, or gives something else.
        """
        parts = []
        for one in magnitudes.split(1):
            try:
                found = self._session.run([self.output], {self.input: one.contiguous().numpy()})[0]
            except Exception as error:
                raise ModelError(f"{self.path} cannot be run: {one_line(error)}") from error
            if found.shape != tuple(one.shape):
                raise ModelError(
                    f"{self.path}: expected a mask of the shape of its input, {tuple(one.shape)}, found {found.shape}"
                )
            parts.append(torch.from_numpy(found))
        return torch.cat(parts)


def read_mask_file(path: Path, bins: int) -> MaskFile:
    """What a file holds.

    Args:
        path: of the file.
        bins: that it must have.

    Raises:
        ModelError: its network has another form.
        FormatError: there is no such file, or it is no ONNX file.
        MissingDependencyError: onnx is not installed.
    """
    model = read_whole_model(path)
    graph = model.graph
    constants = {entry.name for entry in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(entry.name for entry in inputs) or "none"
        raise ModelError(f"{path}: {_FORM}, found {len(inputs)} inputs: {names}")
    if len(graph.output) != 1:
        raise ModelError(f"{path}: expected one output, a mask, found {len(graph.output)}")
    frames, axis, batch = _axes(path, inputs[0], bins)
    return MaskFile(path, inputs[0].name, graph.output[0].name, frames, axis, batch, quantized_by(model))


def _axes(path: Path, value: Any, bins: int) -> tuple[Frames | None, str, int | str]:
    """The length of the last axis, None where it is free, its name, and the first axis."""
    import onnx

    tensor = value.type.tensor_type
    sizes = list(tensor.shape.dim)
    shown = [entry.dim_value if entry.HasField("dim_value") else entry.dim_param or "?" for entry in sizes]
    shape = f"({', '.join(map(str, shown))})"
    if tensor.elem_type != onnx.TensorProto.FLOAT or len(sizes) != _AXES:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        raise ModelError(f"{path}: {_FORM}, found {value.name} {shape} of {kind}")
    batch, height, length = sizes
    if height.HasField("dim_value") and height.dim_value != bins:
        raise ModelError(
            f"{path}: expected {bins} bins, n_fft // 2 + 1 of the preprocessing, found {value.name} {shape}"
        )
    if batch.HasField("dim_value") and batch.dim_value != 1:
        raise ModelError(f"{path}: expected a batch of any size or of 1, found {value.name} {shape}")
    first = 1 if batch.HasField("dim_value") else batch.dim_param or BATCH
    if length.HasField("dim_value"):
        if length.dim_value < 1:
            raise ModelError(f"{path}: expected at least one frame, found {value.name} {shape}")
        return length.dim_value, "", first
    return None, length.dim_param, first


def write_static(source: MaskFile, frames: Frames, result: Path) -> None:
    """Writes a network for one clip of a fixed number of frames.

    Args:
        source: for any number.
        frames: above 0.
        result: the file.

    Raises:
        ModelError: it has a fixed number already, which is another one, or its shapes cannot be told.
    """
    import onnx
    from onnxruntime.tools.onnx_model_utils import fix_output_shapes, make_dim_param_fixed, make_input_shape_fixed

    if source.frames not in (None, frames):
        raise ModelError(f"{source.path}: its input has {source.frames} frames, which cannot become {frames}")
    model = read_whole_model(source.path)
    given = next(entry for entry in model.graph.input if entry.name == source.input)
    batch, height, length = given.type.tensor_type.shape.dim
    for axis, size in ((batch, 1), (length, frames)):
        if axis.dim_param:
            make_dim_param_fixed(model.graph, axis.dim_param, size)
    try:
        make_input_shape_fixed(model.graph, source.input, [1, height.dim_value, frames])
        # What stands within was told of the free axes.
        del model.graph.value_info[:]
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")
        model = onnx.shape_inference.infer_shapes(model)
        fix_output_shapes(model)
    except (ValueError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"{source.path} has no form of {frames} frames: {error}") from error
    with atomic_write(result) as stream:
        stream.write(model.SerializeToString())
