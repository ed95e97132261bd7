"""A quantized torch network as an ONNX file: float operators between QuantizeLinear and DequantizeLinear (QDQ).

Runtimes fuse those into integer kernels; onnxruntime then gives the integers of the reference.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from kaldi_quant.atomic import atomic_write
from kaldi_quant.backends.onnx.integer_weights import check_integer
from kaldi_quant.backends.onnx.parameters import WeightForm
from kaldi_quant.backends.onnx.session import optimized_graph
from kaldi_quant.backends.onnx.writer import Dim, Name
from kaldi_quant.errors import DataError, ModelError, UsageError
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.torchnn.calls import Call, Inputs
from kaldi_quant.torchnn.host import TorchHost
from kaldi_quant.torchnn.onnx.axes import Axes, FreeAxisError, free_axes
from kaldi_quant.torchnn.onnx.builder import TorchOnnx, build_graph
from kaldi_quant.torchnn.onnx.ends import Ends
from kaldi_quant.torchnn.onnx.matmuls import check_matmuls
from kaldi_quant.torchnn.tracing import first_line
from kaldi_quant.torchnn.variants import FAILURES


@dataclass(frozen=True)
class OnnxFile:
    """What a file takes and gives, by name: float32, and masks of booleans as such.

    Args:
        path: the file.
        inputs: the shape of each input; a str is an axis of any length.
        outputs: likewise.
    """

    path: Path
    inputs: dict[Name, tuple[Dim, ...]]
    outputs: dict[Name, tuple[Dim, ...]]


def write_onnx(
    network: QuantizedNetwork,
    path: str | os.PathLike[str],
    example: Inputs,
    dynamic_axes: bool = True,
    form: WeightForm = "signed",
    inputs: Mapping[Name, Sequence[Dim]] | None = None,
    outputs: Sequence[Name] | None = None,
) -> OnnxFile:
    """Writes a quantized torch network as ONNX, after a look at what onnxruntime makes of it.

    Args:
        network: quantized by ``torchnn.quantization.quantize``.
        path: the file.
        example: how the network is called: a tensor, a tuple of arguments, or a dict of arguments by name.
        dynamic_axes: whether axes of inputs have any length as far as the network bears it and has such a form: all
            of them, or the first alone, or none. The result tells which. Else all have the example's lengths.
        form: how weights are stored. ``signed`` is what devices run fastest; ``exact`` is right on x86 processors
            without VNNI too, where onnxruntime's kernels for signed 8-bit weights saturate.
        inputs: the names of all inputs, in the order of the network's arguments, and of each the size of its axes,
            a str for the name of an axis of any length; ``dynamic_axes`` then means nothing. The example need not be of
            these sizes. By default inputs have the names of arguments.
        outputs: the names of all outputs; by default ``output``, or ``output.0`` and so on.

    Raises:
        ModelError: the network has no such form; says why. Or onnxruntime would run a quantized product in float.
        UsageError: inputs or outputs are not as many as the network has, or two have one name.
        DataError: the network cannot be called with the example, or the file cannot be written.
        MissingDependencyError: onnx or onnxruntime is not installed.

    Example:
        >>> file = write_onnx(quantized, "network.onnx", torch.randn(1, 80, 200))
        >>> file.inputs
        {'x': ('batch', 80, 'x.2')}
        >>> file = write_onnx(quantized, "short.onnx", torch.randn(1, 80, 200), inputs={"feats": (1, 80, 40)})
    """
    if inputs is None and outputs is not None:
        raise UsageError("names of outputs go with names of inputs: give both")
    graph = onnx_graph(network, example, dynamic_axes, form, None if inputs is None else Ends(inputs, outputs))
    optimized = optimized_graph(graph.model)
    check_integer(graph.model, optimized, network.multiplying_floats)
    check_matmuls(network.matmuls, optimized)
    with atomic_write(path) as stream:
        stream.write(graph.model.SerializeToString())
    return OnnxFile(Path(path), graph.inputs, graph.outputs)


def onnx_graph(
    network: QuantizedNetwork,
    example: Inputs,
    dynamic_axes: bool = True,
    form: WeightForm = "signed",
    ends: Ends | None = None,
) -> TorchOnnx:
    """The graph that ``write_onnx`` writes, with the names of its integers."""
    host = network.host
    if not isinstance(host, TorchHost):
        raise ModelError("only networks of torch.nn are written by this; others have a writer of their own")
    call = Call.of(example).copied(torch.float32)
    call = call.with_tensors([x.cpu() for x in call.tensors])
    call = call if ends is None else ends.call(call)
    _check_example(host, call)
    call = call.bound(host.region.program.signature.arguments)
    if ends is not None:
        executable = host.executable()
        wanted = ends.free(free_axes(executable, call)) if ends.named else frozenset()
        return ends.put_on(build_graph(network, call, wanted, form), executable, call)
    if not dynamic_axes:
        return build_graph(network, call, frozenset(), form)
    free = free_axes(host.executable(), call)
    batch: Axes = frozenset(each for each in free if each[1] == 0)
    for chosen in (free, batch):
        try:
            return build_graph(network, call, chosen, form)
        except FreeAxisError:
            continue
    return build_graph(network, call, frozenset(), form)


def _check_example(host: TorchHost, call: Call) -> None:
    """Refuses an example that the network cannot be called with.

    Raises:
        DataError: it cannot.
    """
    try:
        with torch.no_grad():
            call.copied().run(host.executable())
    except FAILURES as error:
        shapes = ", ".join(str(tuple(x.shape)) for x in call.tensors)
        raise DataError(f"the network cannot be run on the example, of shape {shapes}: {first_line(error)}") from error
