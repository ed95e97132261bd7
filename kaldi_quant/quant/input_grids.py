"""The grids that a layer's columns lie on, from the grids of the nodes that it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from kaldi_quant.kaldi.descriptor import Append, Const, Descriptor, NodeName
from kaldi_quant.kaldi.nnet import ComponentNode
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_graph import IntegerGraph
from kaldi_quant.quant.integer_linear import InputGrid
from kaldi_quant.quant.linear_components import HEIGHT_TYPES, weight_of


def input_grid(graph: IntegerGraph, layer: str, activations: Mapping[str, Grid]) -> InputGrid:
    """One scale and zero point for each column of a layer's weight.

    Args:
        graph: of the network.
        layer: whose input holds no constant.
        activations: the grids of nodes, () or (dim,).
    """
    nnet = graph.nnet
    node, component = nnet.nodes[layer], nnet.components[layer]
    assert isinstance(node, ComponentNode)
    descriptor, names = node.input, graph.inputs_of(layer)
    grids = [activations[name] for name in names]
    columns = weight_of(component).shape[1]

    def expand(values: dict[str, Tensor]) -> Tensor:
        one = _by_column(descriptor, lambda name: values[name].expand(nnet.node_dim(name)))
        # A TdnnComponent's columns repeat for each time offset; a convolution's input has one grid for all columns.
        return one[:1].expand(columns) if component.type in HEIGHT_TYPES else one.repeat(columns // len(one))

    scale = expand({name: activations[name].scale for name in names})
    zero_point = expand({name: activations[name].zero_point for name in names})
    per_column = any(graph.is_per_column(name) for name in names)
    qmin, qmax = min(grid.spec.qmin for grid in grids), max(grid.spec.qmax for grid in grids)
    return InputGrid(scale.contiguous(), zero_point.contiguous(), qmin, qmax, per_column)


def has_constant(descriptor: Descriptor) -> bool:
    """Whether a descriptor holds a constant, which lies on no grid."""
    return isinstance(descriptor, Const) or any(has_constant(part) for part in descriptor.sources())


def _by_column(descriptor: Descriptor, of_node: Callable[[str], Tensor]) -> Tensor:
    """One value for each column of a descriptor, from the values of its nodes.

    Of alternatives (Failover, Switch) the first counts: what a layer reads has one grid, but for network inputs.
    """
    match descriptor:
        case NodeName(node):
            return of_node(node)
        case Append(parts):
            return torch.cat([_by_column(part, of_node) for part in parts])
    return _by_column(descriptor.sources()[0], of_node)
