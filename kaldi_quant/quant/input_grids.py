"""The grids that a layer's columns lie on, from the grids of the nodes that it reads."""

from __future__ import annotations

from collections.abc import Mapping

from kaldi_quant.quant.graph import QuantGraph
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.host import Host
from kaldi_quant.quant.integer_linear import InputGrid


def input_grid(host: Host, graph: QuantGraph, layer: str, activations: Mapping[str, Grid]) -> InputGrid:
    """One scale and zero point for each column of a layer's weight.

    Args:
        host: the network.
        graph: its nodes on grids.
        layer: whose ranges are known beforehand.
        activations: the grids of nodes, () or (channels,).
    """
    names = graph.inputs_of(layer)
    grids = [activations[name] for name in names]
    scale = host.columns(layer, {name: activations[name].scale for name in names})
    zero_point = host.columns(layer, {name: activations[name].zero_point for name in names})
    per_column = any(graph.is_per_column(name) for name in names)
    qmin, qmax = min(grid.spec.qmin for grid in grids), max(grid.spec.qmax for grid in grids)
    return InputGrid(scale.contiguous(), zero_point.contiguous(), qmin, qmax, per_column)
