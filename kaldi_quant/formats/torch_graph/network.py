"""A prepared torch network as JSON and tensors, and back; the weights of quantized layers are elsewhere in the file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from kaldi_quant.errors import FormatError, KaldiQuantError, ModelError, UsageError
from kaldi_quant.formats.container import Container, Tensors
from kaldi_quant.formats.fields import Fields
from kaldi_quant.formats.torch_graph.description import decoded_description, encoded_columns, encoded_nodes
from kaldi_quant.formats.torch_graph.example import (
    decoded_arguments,
    decoded_example,
    encoded_arguments,
    encoded_example,
)
from kaldi_quant.formats.torch_graph.graph import decoded_graph, encoded_graph, written_nodes
from kaldi_quant.formats.torch_graph.modules import decoded_module, decoded_tensor, encoded_module, encoded_tensor
from kaldi_quant.quant.distance import DISTANCES
from kaldi_quant.torchnn.calls import Signature
from kaldi_quant.torchnn.computation import attribute
from kaldi_quant.torchnn.host import TorchHost
from kaldi_quant.torchnn.nodes import Description
from kaldi_quant.torchnn.program import Program
from kaldi_quant.torchnn.region import Region, regions_within
from kaldi_quant.torchnn.tracing import first_line
from kaldi_quant.torchnn.variants import FAILURES


def encoded_network(host: TorchHost, without: Collection[str], tensors: Tensors) -> dict[str, Any]:
    """A network as JSON.

    Args:
        host: whose biases have all that inputs lack.
        without: the layers whose parameters are left out.
        tensors: takes the network's own.

    Raises:
        ModelError: a part of it is code that cannot be traced, or is nothing that a file can hold; names it.
    """
    region = host.region
    if region.reasons or any(regions_within(module) for module in (region.original, *region.parts)):
        reasons = "; ".join(f"{path or region.kind} cannot be traced: {why}" for path, why in region.reasons.items())
        raise ModelError(f"a file holds no code: {reasons}")
    named = [node for node in written_nodes(region.graph) if node.op in ("get_attr", "call_module")]
    paths = {op: list(dict.fromkeys(str(node.target) for node in named if node.op == op)) for op in _NAMED}
    description = host.description
    return {
        "kind": region.kind,
        "graph": encoded_graph(region.graph),
        "modules": {
            path: encoded_module(path, region.get_submodule(path), without, tensors) for path in paths["call_module"]
        },
        "constants": {path: _encoded_constant(path, region, tensors) for path in paths["get_attr"]},
        "arguments": encoded_arguments(region.program.signature.arguments),
        "example": encoded_example(host.example.bound(region.program.signature.arguments), tensors),
        "points": region.program.points,
        "nodes": encoded_nodes(description),
        "columns": encoded_columns(description),
        "float_operations": description.float_operations,
        "distance": host.distance.name,
        "folded": host.folded,
    }


_NAMED = ("call_module", "get_attr")


def _encoded_constant(path: str, region: Region, tensors: Tensors) -> dict[str, Any]:
    value = attribute(region, path)
    if not isinstance(value, Tensor):
        raise ModelError(f"{path} is a {type(value).__name__}, and no tensor")
    return encoded_tensor(path, value, tensors)


def decoded_network(container: Container, fields: Fields) -> TorchHost:
    """Takes a network out of a file; the weights of quantized layers are zeros.

    Args:
        container: the file.
        fields: from ``encoded_network``.

    Raises:
        FormatError: it is malformed, or contradicts itself.
    """
    try:
        host = _decoded(container, fields)
    except (ValueError, TypeError, LookupError, AttributeError, UsageError) as error:
        raise FormatError(container.path, None, f"its network is malformed: {first_line(error)}") from error
    fields.finish()
    return host


def _decoded(container: Container, fields: Fields) -> TorchHost:
    take = container.take
    modules = {path: decoded_module(path, found, take) for path, found in fields.take("modules", dict).items()}
    constants = {path: decoded_tensor(path, found, take) for path, found in fields.take("constants", dict).items()}
    graph = decoded_graph(fields.take("graph", list), modules, constants)
    arguments = decoded_arguments(fields.take("arguments", list))
    example = decoded_example(container, fields.object("example")).bound(arguments)
    program = Program(graph, Signature(arguments, example))
    region = Region(nn.Module(), program, fields.take("kind", str))
    # Modules within others come after these, and the tensors of all of them last.
    for path in sorted(modules, key=lambda path: path.count(".")):
        _place(region, path, modules[path])
    for path, value in constants.items():
        _place(region, path, value)
    region.eval()
    description = decoded_description(fields, region)
    program.points = _decoded_points(fields.take("points", dict), graph, description)
    distance = DISTANCES[fields.take("distance", str)]()
    host = TorchHost(region, description, {}, example, distance, fields.take("folded", bool))
    try:
        with torch.no_grad():
            program.find_shapes(region, example)
    except KaldiQuantError:
        raise
    except FAILURES as error:
        raise ValueError(f"its graph cannot compute its own example: {first_line(error)}") from error
    return host


def _place(region: Region, path: str, value: nn.Module | Tensor) -> None:
    """Puts a module or a tensor where nodes look for it."""
    root, _, rest = path.partition(".")
    if not rest or root not in ("original", "parts") or (root == "parts" and not rest.isdecimal()):
        raise ValueError(f"{path[:80]!r} is no place in a network")
    holder: nn.Module = region
    *parents, name = path.split(".")
    for parent in parents:
        if holder._modules.get(parent) is None:
            holder.add_module(parent, nn.Module())
        holder = holder.get_submodule(parent)
    if isinstance(value, nn.Module):
        holder._modules.pop(name, None)
        holder.add_module(name, value)
    elif name not in {**holder._parameters, **holder._buffers}:
        holder.register_buffer(name, value)


def _decoded_points(points: Mapping[str, Any], graph: fx.Graph, description: Description) -> dict[str, str]:
    names = {node.name for node in graph.nodes}
    if not set(points) <= names or not set(points.values()) <= set(description.nodes):
        raise ValueError("its nodes are of values that the graph does not have")
    return dict(points)
