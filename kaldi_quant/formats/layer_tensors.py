"""Quantized layers and activation grids as tensors, and what describes them.

``LAYER.weight`` holds the integers, each as its offset from the grid's least, in exactly as many bits as the grid has,
row by row; ``LAYER.scale`` a float32 for each row, or for each group of a row's columns, row by row;
``LAYER.zero_point``, of affine grids alone, an integer for each scale, packed like the weights. ``LAYER.bias`` holds
int32, where ranges are dynamic, rows have several scales or weights alone are quantized float32. ``LAYER.factor``
holds, where columns were multiplied by factors before they were quantized, a float32 for each. ``activation_scale`` and
``activation_zero_point`` hold those of all nodes on grids, in the order of their description; a network input has one
for each column.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.errors import FormatError, ModelError, UsageError
from kaldi_quant.formats.container import Container, Tensors
from kaldi_quant.formats.fields import Fields, spec_fields
from kaldi_quant.quant.graph import QuantGraph
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.host import Host
from kaldi_quant.quant.input_grids import input_grid
from kaldi_quant.quant.integer_linear import DynamicLinear, check_accumulator
from kaldi_quant.quant.packing import pack, packed_bytes, unpack
from kaldi_quant.quant.quantized_layer import QuantizedLayer, assembled
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.scale_groups import count_groups
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.quant.weight_only import WeightOnlyLinear

_LARGEST_SIDE = 1 << 24


@dataclass(frozen=True)
class StoredLayer:
    """A layer as a file has it, before its input's grids are known.

    Args:
        weight: in integers.
        bias: (out,) int32, or float32.
        dynamic: the width of an input whose range is not known beforehand, or None.
        weights_only: whether its input stays in float.
        factor: (in,), of its columns, or None.
    """

    weight: QuantizedWeight
    bias: Tensor
    dynamic: QSpec | None
    weights_only: bool
    factor: Tensor | None

    @property
    def is_static(self) -> bool:
        """Whether its input lies on a grid that is known beforehand."""
        return self.dynamic is None and not self.weights_only


def layer_tensors(name: str, layer: QuantizedLayer) -> tuple[Tensors, dict[str, Any]]:
    """A layer's tensors, and the JSON object that describes them.

    Raises:
        ModelError: the layer has a scale or bias that is not finite, and could not be read again.
    """
    weight = layer.weight
    if not bool(torch.isfinite(weight.scale).all() and torch.isfinite(layer.bias).all()):
        raise ModelError(f"the layer {name} has a scale or bias that is not finite: calibrate it on other data")
    spec, integers = weight.spec, weight.integers.numpy()
    described: dict[str, Any] = {"weight": spec_fields(spec), "shape": list(integers.shape)}
    tensors = {
        f"{name}.weight": pack(integers - spec.qmin, spec.bits),
        f"{name}.scale": weight.scale.flatten().numpy(),
    }
    if not spec.symmetric:
        tensors[f"{name}.zero_point"] = pack(weight.zero_point.numpy() - spec.qmin, spec.bits)
    tensors[f"{name}.bias"] = layer.bias.numpy()
    if weight.groups != 1:
        described["groups"] = weight.groups
    if isinstance(layer, DynamicLinear):
        described["dynamic"] = spec_fields(layer.spec)
    if isinstance(layer, WeightOnlyLinear):
        described["weights_only"] = True
        if layer.factor is not None:
            described["factor"] = True
            tensors[f"{name}.factor"] = layer.factor.numpy()
    return tensors, described


def take_layer(container: Container, name: str, described: Fields) -> StoredLayer:
    """Takes a layer out of a file.

    Raises:
        FormatError: its tensors are not as they are described, or hold what no layer does.
    """
    weight = _take_weight(container, name, described)
    rows = len(weight.integers)
    dynamic = described.spec("dynamic") if described.has("dynamic") else None
    weights_only = described.take("weights_only", bool, False)
    if dynamic is not None and weights_only:
        container.fail(f"the layer {name} should have an input in float or with dynamic ranges, and not both")
    in_steps = dynamic is None and not weights_only and not weight.is_groupwise
    bias = container.take(f"{name}.bias", "int32" if in_steps else "float32", rows)
    if not np.isfinite(bias).all():
        container.fail(f"the layer {name} has a bias that is not finite")
    if dynamic is not None:
        _require_activation(container, f"the layer {name}", dynamic)
    factor = None
    if described.take("factor", bool, False):
        if not weights_only:
            container.fail(f"the layer {name} has factors of columns, which are for inputs in float")
        found = container.take(f"{name}.factor", "float32", weight.integers.shape[1])
        factor = torch.from_numpy(_positive(container, f"the layer {name}", found).copy())
    described.finish()
    return StoredLayer(weight, torch.from_numpy(bias.copy()), dynamic, weights_only, factor)


def _take_weight(container: Container, name: str, described: Fields) -> QuantizedWeight:
    spec, shape = described.spec("weight"), described.take("shape", list)
    good = len(shape) == 2 and all(type(size) is int and 0 < size <= _LARGEST_SIDE for size in shape)
    if not good or not spec.signed:
        container.fail(f"the layer {name} should have a signed weight of rows x columns, found {str(shape)[:60]}")
    count, rows = math.prod(shape), shape[0]
    packed = container.take(f"{name}.weight", "uint8", packed_bytes(count, spec.bits))
    integers = _on_grid(container, name, spec, unpack(packed, spec.bits, count))
    scales = rows * count_groups(shape[1], spec.group_size)
    scale = _positive(container, f"the layer {name}", container.take(f"{name}.scale", "float32", scales))
    groups = described.int_between("groups", 1, rows, 1)
    if rows % groups:
        container.fail(f"the layer {name} has {rows} rows in {groups} groups, which differ in size")
    zero_point = np.zeros(scales, np.int32)
    if not spec.symmetric:
        packed = container.take(f"{name}.zero_point", "uint8", packed_bytes(scales, spec.bits))
        zero_point = _on_grid(container, name, spec, unpack(packed, spec.bits, scales))
    scale, zero_point = (values.reshape(rows, -1).copy() for values in (scale, zero_point))
    of_scales = torch.from_numpy(scale), torch.from_numpy(zero_point)
    return QuantizedWeight(spec, torch.from_numpy(integers.reshape(shape)), of_scales[0], of_scales[1], groups)


def _on_grid(container: Container, name: str, spec: QSpec, offsets: np.ndarray) -> np.ndarray:
    integers = offsets + np.int32(spec.qmin)
    if integers.max() > spec.qmax:
        container.fail(
            f"the layer {name} has the integer {integers.max()}, beyond its grid, {spec.qmin} to {spec.qmax}"
        )
    return integers


def _positive(container: Container, what: str, scale: np.ndarray) -> np.ndarray:
    wrong = ~(np.isfinite(scale) & (scale > 0))
    if wrong.any():
        container.fail(f"{what} has the scale {scale[np.argmax(wrong)]:g}, which is no positive number")
    return scale


def _require_activation(container: Container, what: str, spec: QSpec) -> None:
    if spec.signed:
        container.fail(f"{what} has a signed activation grid, where activations are unsigned")
    if spec.group_size:
        container.fail(f"{what} has an activation grid with groups of columns, which only weights have")


def activation_tensors(activations: dict[str, Grid]) -> tuple[Tensors, dict[str, Any]]:
    """The grids of nodes as tensors, and the JSON object that describes them."""
    scales = [grid.scale.flatten() for grid in activations.values()]
    zero_points = [grid.zero_point.flatten() for grid in activations.values()]
    tensors = {
        "activation_scale": torch.cat([*scales, torch.zeros(0)]).numpy(),
        "activation_zero_point": torch.cat([*zero_points, torch.zeros(0, dtype=torch.int32)]).numpy(),
    }
    return tensors, {name: spec_fields(grid.spec) for name, grid in activations.items()}


def take_activations(container: Container, described: Fields, graph: QuantGraph) -> dict[str, Grid]:
    """Takes the grids of a network's nodes out of a file.

    Raises:
        FormatError: they are not those of the nodes that need one, or no grids.
    """
    specs = {name: described.spec(name) for name in described.names()}
    if set(specs) != set(graph.nodes):
        odd = min(set(specs) ^ set(graph.nodes))
        container.fail(f"the node {odd[:80]!r} has a grid and needs none, or needs one and has none")
    sizes = [graph.all_nodes[name].channels if graph.is_per_column(name) else 1 for name in specs]
    scale = container.take("activation_scale", "float32", sum(sizes))
    zero_point = container.take("activation_zero_point", "int32", sum(sizes))
    _positive(container, "a node", scale)
    grids, begin = {}, 0
    for (name, spec), size in zip(specs.items(), sizes, strict=True):
        _require_activation(container, f"the node {name}", spec)
        part = slice(begin, begin + size)
        shape = (size,) if graph.is_per_column(name) else ()
        values = [torch.from_numpy(values[part].copy()).view(shape) for values in (scale, zero_point)]
        grids[name] = Grid(spec, *values)
        low, high = (0, 0) if spec.symmetric else (spec.qmin, spec.qmax)
        if spec.centred:
            low = high = spec.middle
        if not low <= int(values[1].min()) <= int(values[1].max()) <= high:
            container.fail(f"the node {name} has a zero point outside its grid, {low} to {high}")
        begin += size
    for group in graph.groups():
        first = grids[group[0]]
        if any(not _same(grids[name], first) for name in group[1:]):
            container.fail(f"the nodes {', '.join(group)[:200]} are read side by side and differ in their grids")
    return grids


def _same(one: Grid, other: Grid) -> bool:
    return one.spec == other.spec and all(
        torch.equal(a, b) for a, b in ((one.scale, other.scale), (one.zero_point, other.zero_point))
    )


def complete_layer(
    container: Container, name: str, stored: StoredLayer, host: Host, graph: QuantGraph, activations: dict[str, Grid]
) -> QuantizedLayer:
    """A layer that can run.

    Raises:
        FormatError: its sums would overflow, or its input lies on no grid.
    """
    if reason := host.float_reason(name, static=stored.is_static):
        container.fail(f"the layer {name} cannot be in integers: {reason}")
    try:
        inputs = input_grid(host, graph, name, activations) if stored.is_static else None
        in_steps = stored.bias if not stored.bias.is_floating_point() else torch.zeros(len(stored.bias))
        if inputs is not None:
            check_accumulator(stored.weight, inputs.largest, in_steps.double())
        elif stored.dynamic is not None:
            check_accumulator(stored.weight, stored.dynamic.qmax, in_steps)
        return assembled(stored.weight, stored.bias, inputs, stored.dynamic, stored.factor)
    except UsageError as error:
        raise FormatError(container.path, None, f"the layer {name}: {error}") from error
