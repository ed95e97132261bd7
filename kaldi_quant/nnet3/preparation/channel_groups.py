"""Channels of a prepared network that can be rescaled without any change of its output.

Dividing what is computed for a channel by a positive factor, and multiplying the weights that read it by the same
factor, changes nothing as long as all between the two is positively homogeneous: ReLU, sums, splicing, constant scales.
Every column of every node is an element; columns that must share a factor are joined; those joined with something that
is not homogeneous (inputs, outputs, sigmoids, normalizations) have none. What remains are the free channels, also where
the way leads through bypass sums, column ranges or recurrence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.component_dims import WITHOUT_INPUT
from kaldi_quant.kaldi.descriptor import (
    Append,
    Const,
    Descriptor,
    Failover,
    IfDefined,
    NodeName,
    Offset,
    ReplaceIndex,
    Round,
    Scale,
    Sum,
    Switch,
)
from kaldi_quant.kaldi.nnet import ComponentNode, DimRangeNode, InputNode, Nnet
from kaldi_quant.nnet3.graph_components import connected_components
from kaldi_quant.nnet3.preparation.linear_components import HEIGHT_TYPES, bias_of, is_linear, set_parameters, weight_of
from kaldi_quant.quant.channel_groups import ChannelGroup

#: Those whose output channel is the input channel through a function f with f(s x) = s f(x) for positive s.
_HOMOGENEOUS = frozenset(
    {
        "RectifiedLinearComponent",
        "NoOpComponent",
        "ClipGradientComponent",
        "BackpropTruncationComponent",
        "DropoutComponent",
        "GeneralDropoutComponent",
        "SpecAugmentTimeMaskComponent",
        "FixedScaleComponent",
        "PerElementScaleComponent",
        "NaturalGradientPerElementScaleComponent",
    }
)

#: Those that add a vector, and its field.
_OFFSET_FIELDS = {"FixedBiasComponent": "Bias", "PerElementOffsetComponent": "Offsets"}


def channel_groups(nnet: Nnet) -> list[ChannelGroup]:
    """All groups of channels of a prepared network that can be rescaled, in the order of the graph."""
    columns = _Columns(nnet)
    classes = columns.classes()
    fixed = classes[0]
    # Channels belong together if they are found in the same nodes.
    places: dict[int, list[str]] = {}
    for name, elements in columns.nodes.items():
        for one in np.unique(classes[elements]).tolist():
            if one != fixed:
                places.setdefault(one, []).append(name)
    members: dict[tuple[str, ...], list[int]] = {}
    for one, names in places.items():
        members.setdefault(tuple(names), []).append(one)
    groups = []
    for channels in members.values():
        channel = np.full(classes.max() + 1, -1)
        channel[channels] = np.arange(len(channels))
        tables = (columns.nodes, columns.rows, columns.columns, columns.offsets)
        found = [{name: channel[classes[elements]] for name, elements in table.items()} for table in tables]
        used = [{name: one for name, one in table.items() if (one >= 0).any()} for table in found]
        groups.append(ChannelGroup(len(channels), *used))
    # Columns that no layer reads have nothing to gain.
    return [group for group in groups if group.consumers]


def rescale(
    nnet: Nnet, input_offsets: Mapping[str, np.ndarray], factors: Mapping[ChannelGroup, np.ndarray]
) -> tuple[Nnet, dict[str, np.ndarray]]:
    """The network with each channel divided by its factor, and the weights that read it multiplied by the same.

    Args:
        nnet: the network that the groups were found in.
        input_offsets: for linear components what their inputs lack, (input columns,).
        factors: for each group to be rescaled, (group.size,) positive.

    Returns:
        the network, and what its inputs lack.
    """
    divisors: dict[str, np.ndarray] = {}
    multipliers: dict[str, np.ndarray] = {}

    def multiply(table: dict[str, np.ndarray], name: str, channels: np.ndarray, factor: np.ndarray) -> None:
        table[name] = table.get(name, np.ones(len(channels))) * np.append(factor, 1.0)[channels]

    for group, factor in factors.items():
        for name, channels in (group.producers | group.offsets).items():
            multiply(divisors, name, channels, factor)
        for name, channels in group.consumers.items():
            multiply(multipliers, name, channels, factor)
    components = {
        name: _rescaled(component, divisors.get(name), multipliers.get(name))
        for name, component in nnet.components.items()
    }
    offsets = {name: offset / multipliers.get(name, 1.0) for name, offset in input_offsets.items()}
    return replace(nnet, components=components), offsets


def _rescaled(component: Component, divisor: np.ndarray | None, multiplier: np.ndarray | None) -> Component:
    if divisor is None and multiplier is None:
        return component
    if component.type in _OFFSET_FIELDS:
        changed = Component(component.type, list(component.fields), component.closing)
        name = _OFFSET_FIELDS[component.type]
        changed.replace(name, (component[name] / divisor).astype(np.float32))
        return changed
    weight, bias = weight_of(component).astype(np.float64), bias_of(component).astype(np.float64)
    if divisor is not None:
        weight, bias = weight / divisor[:, None], bias / divisor
    if multiplier is not None:
        weight = weight * multiplier
    return set_parameters(component, weight, bias)


class _Columns:
    """The columns of all nodes as numbered elements, and which of them must share a factor.

    Attributes:
        nodes: the elements of each node's columns; 0 is the element that cannot be scaled.
        rows: those of each linear component's rows.
        columns: those of each linear component's columns.
        offsets: those of each vector that is added.
    """

    def __init__(self, nnet: Nnet) -> None:
        self.nodes: dict[str, np.ndarray] = {}
        self.rows: dict[str, np.ndarray] = {}
        self.columns: dict[str, np.ndarray] = {}
        self.offsets: dict[str, np.ndarray] = {}
        self._pairs: list[tuple[np.ndarray, np.ndarray]] = []
        self._count = 1
        for name in nnet.nodes:
            dim = nnet.node_dim(name)
            self.nodes[name] = self._count + np.arange(dim)
            self._count += dim
        for name, node in nnet.nodes.items():
            own = self.nodes[name]
            match node:
                case InputNode():
                    self._fix(own)
                case DimRangeNode():
                    self._join(own, self.nodes[node.input_node][node.dim_offset : node.dim_offset + node.dim])
                case ComponentNode():
                    self._component(node.component, nnet.components[node.component], node.input, own)
                case _:
                    self._fix(own)
                    self._fix(self._elements(node.input))

    def classes(self) -> np.ndarray:
        """(elements,): the class of each; elements of one class share their factor."""
        left, right = (np.concatenate(side) for side in zip(*self._pairs, strict=True))
        return connected_components(self._count, left, right)

    def _join(self, left: np.ndarray, right: np.ndarray) -> None:
        self._pairs.append((left, right))

    def _fix(self, elements: np.ndarray) -> None:
        self._join(elements, np.zeros_like(elements))

    def _component(self, name: str, component: Component, descriptor: Descriptor, own: np.ndarray) -> None:
        if component.type in WITHOUT_INPUT:
            self._fix(own)
            return
        read = self._elements(descriptor)
        if is_linear(component):
            rows, columns = weight_of(component).shape
            if component.type in HEIGHT_TYPES:
                # One filter for all heights: a node's columns are (height, filter), a weight's (offset, filter).
                read = self._joined_blocks(read, component["Model"]["NumFiltersIn"])
            self.rows[name], self.columns[name] = self._joined_blocks(own, rows), np.resize(read, columns)
        elif component.type in _HOMOGENEOUS:
            self._join(own, read)
        elif component.type in _OFFSET_FIELDS:
            self._join(own, read)
            self.offsets[name] = self._joined_blocks(own, len(component[_OFFSET_FIELDS[component.type]]))
        else:
            self._fix(own)
            self._fix(read)

    def _joined_blocks(self, elements: np.ndarray, size: int) -> np.ndarray:
        """Joins blocks of columns with the first one, which is returned."""
        self._join(elements, np.resize(elements[:size], len(elements)))
        return elements[:size]

    def _elements(self, descriptor: Descriptor) -> np.ndarray:
        """The elements of a descriptor's columns."""
        match descriptor:
            case NodeName(node):
                return self.nodes[node]
            case Append(parts):
                return np.concatenate([self._elements(part) for part in parts])
            case Sum(parts) | Failover(parts) | Switch(parts):
                first, *others = (self._elements(part) for part in parts)
                for other in others:
                    self._join(first, other)
                return first
            case Scale(source) | Offset(source) | Round(source) | ReplaceIndex(source) | IfDefined(source):
                return self._elements(source)
            case Const(_, size):
                return np.zeros(size, np.int64)
        raise AssertionError(descriptor)
