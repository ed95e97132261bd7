"""Which columns of a network's inputs the columns of its layers meet, where these are met one by one."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import fx

from kaldi_quant.torchnn.channels import Labels, columns_of, moved, on_axis
from kaldi_quant.torchnn.graph_nodes import inputs_of, shape_of
from kaldi_quant.torchnn.moves import is_move, sources_of
from kaldi_quant.torchnn.region import Region


def columns_of_inputs(
    region: Region, names: Mapping[fx.Node, str], inputs: Collection[fx.Node]
) -> dict[str, list[tuple[str, int]]]:
    """For layers that are no convolutions and have one use: the node and the column that each of their columns meets.

    A layer is left out if one of its columns meets several, or if that might be otherwise for other sizes.

    Args:
        region: of the layers.
        names: of the quantizer's nodes, by the graph's.
        inputs: the nodes whose columns are told from each other; of others one column stands for all.
    """
    labels: dict[fx.Node, Labels | None] = {}
    starts: list[tuple[str, int]] = [("", 0)]
    found = {}
    for node in region.graph.nodes:
        layer = region.layer_of(node)
        if layer is not None and not layer.is_convolution and region.calls_of(layer) == 1:
            read = labels.get(next(inputs_of(node)))
            columns = None if read is None else columns_of(layer, read, gaps=True)
            if columns is not None:
                first = int(columns[columns > 0][0]) if bool((columns > 0).any()) else 0
                found[layer.name] = [starts[label or first] for label in columns.tolist()]
        if node in names and isinstance(node.meta["value"], torch.Tensor):
            shape = shape_of(node)
            if node in inputs and shape:
                labels[node] = on_axis(shape, -1, first=len(starts))
                starts += [(names[node], column) for column in range(shape[-1])]
            else:
                labels[node] = Labels(torch.full(shape, float(len(starts)), dtype=torch.float64))
                starts.append((names[node], 0))
        elif is_move(node):
            known = {source: labels.get(source) for source in sources_of(node)}
            if all(x is not None for x in known.values()):
                labels[node] = moved(node, region, known)  # type: ignore[arg-type]
    return found
