"""The values of a network that quantization decides on, as JSON and back."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

from kaldi_quant.formats.fields import Fields
from kaldi_quant.quant.declared_grid import DeclaredGrid
from kaldi_quant.quant.graph import Node, Op, Read
from kaldi_quant.torchnn.nodes import Columns, Description
from kaldi_quant.torchnn.region import Region


def encoded_nodes(description: Description) -> list[dict[str, Any]]:
    """The nodes, with those of their fields that are not as usual."""
    return [_encoded_node(node) for node in description.nodes.values()]


def _encoded_node(node: Node) -> dict[str, Any]:
    """The fields that are not as usual."""
    found = {}
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if value != field.default:
            found[field.name] = value
    if "reads" in found:
        found["reads"] = [[read.node, read.coefficient, read.whole] for read in node.reads]
    if "factors" in found:
        found["factors"] = [list(factor) for factor in node.factors]
    if node.declared is not None:
        found["declared"] = list(dataclasses.astuple(node.declared))
    return found


def encoded_columns(description: Description) -> dict[str, list[list[Any]]]:
    """For layers the columns of nodes that they meet."""
    return {layer: _runs(columns) for layer, columns in description.columns.items()}


def _runs(columns: Columns) -> list[list[Any]]:
    """Columns as runs of neighbouring channels of one node: its name, the first channel, how many."""
    found: list[list[Any]] = []
    for name, channel in columns:
        if found and found[-1][0] == name and found[-1][1] + found[-1][2] == channel:
            found[-1][2] += 1
        else:
            found.append([name, channel, 1])
    return found


def decoded_description(fields: Fields, region: Region) -> Description:
    """What there is to decide on.

    Args:
        fields: with ``nodes``, ``columns`` and ``float_operations``.
        region: the network.

    Raises:
        ValueError: it contradicts itself or the network.
        FormatError: likewise.
    """
    layers = region.layers
    found = Description(layers=frozenset(layers))
    for described in fields.take("nodes", list):
        node = _decoded_node(described)
        found.nodes[node.name] = node
    for node in found.nodes.values():
        unknown = set(node.sources) - set(found.nodes)
        if unknown or (node.op == "product" and node.layer_name not in layers):
            raise ValueError(f"the node {node.name[:80]} reads or computes what the network does not have")
        factors = [set(factor) for factor in node.factors]
        if len(factors) != (2 if node.op == "matmul" else 0) or set().union(*factors) != set(
            node.sources if factors else ()
        ):
            raise ValueError(f"the node {node.name[:80]} has other factors than what it reads")
    if {node.layer_name for node in found.nodes.values() if node.op == "product"} != set(layers):
        raise ValueError("its layers are not those of its nodes")
    for layer, runs in fields.take("columns", dict).items():
        if sum(count for _, _, count in runs) != layers[layer].weight.shape[1] or any(count < 1 for *_, count in runs):
            raise ValueError(f"the columns of the layer {layer[:80]} are more or fewer than its weight has")
        columns = [(name, channel) for name, first, count in runs for channel in range(first, first + count)]
        if any(not 0 <= channel < found.nodes[name].channels for name, channel in columns):
            raise ValueError(f"the columns of the layer {layer[:80]} are not those of what it reads")
        found.columns[layer] = columns
    found.float_operations = fields.take("float_operations", dict)
    if not all(isinstance(what, str) for what in found.float_operations.values()):
        raise ValueError("what is computed in float is told by other values than strings")
    return found


def _decoded_node(described: Any) -> Node:
    usual = Node("", "other")
    values: dict[str, Any] = dict(described)
    reads = tuple(Read(*read) for read in values.pop("reads", []))
    factors = tuple(tuple(map(str, factor)) for factor in values.pop("factors", []))
    declared = _decoded_grid(values.pop("declared", None))
    for name, value in values.items():
        if type(value) is not type(getattr(usual, name, None)):
            raise ValueError(f"a node has {name[:40]!r} of {str(value)[:60]!r}")
    if values["op"] not in get_args(Op):
        raise ValueError(f"there is no kind of node {values['op'][:40]!r}")
    good = all(type(x.node) is str and type(x.coefficient) is float and type(x.whole) is bool for x in reads)
    if not good:
        raise ValueError(f"the node {values['name'][:80]} reads {str(reads)[:60]}")
    return Node(**values, reads=reads, factors=factors, declared=declared)


def _decoded_grid(described: Any) -> DeclaredGrid | None:
    if described is None:
        return None
    bits, scale, zero_point = described
    if (type(bits), type(scale), type(zero_point)) != (int, float, int):
        raise ValueError(f"a node declares a grid of {str(described)[:60]}")
    return DeclaredGrid(bits, scale, zero_point)
