"""Which columns of which layers read the channels of a value, where nothing but layers reads it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from kaldi_quant.torchnn.channels import Labels, columns_of, moved, on_axis
from kaldi_quant.torchnn.forms import Layer
from kaldi_quant.torchnn.graph_nodes import holds_tensors, inputs_of, shape_of
from kaldi_quant.torchnn.moves import is_move, sources_of
from kaldi_quant.torchnn.region import Region
from kaldi_quant.torchnn.simplify import is_relu


@dataclass(frozen=True)
class ColumnReader:
    """A layer that reads channels of a value.

    Args:
        layer: with one use.
        channels: (groups * in,) the channel of each column of its input, from 1 on; 0 for columns of nothing but
            padding, and a number beyond the channels for columns of something else.
        padded: whether zeros are among what it reads.
    """

    layer: Layer
    channels: Tensor
    padded: bool

    def by_column(self, values: Tensor, rest: float) -> Tensor:
        """(groups * in,): the value of each column's channel; ``rest`` where it has none. values: (channels,)."""
        others = values.new_full((1,), rest)
        return torch.cat([others, values, others])[self.channels]


def column_readers(
    region: Region, source: fx.Node, axis: int, maxima: bool = True, relus: bool = False
) -> list[ColumnReader] | None:
    """The layers that read a value through moves; None if anything else reads it, or a column reads several channels.

    Args:
        region: of the node.
        source: the value's node.
        axis: of its channels.
        maxima: whether largest values may be taken on the way.
        relus: whether ReLUs may be on the way.
    """
    labels: dict[fx.Node, Labels] = {source: on_axis(shape_of(source), axis)}
    beyond = float(shape_of(source)[axis] + 1)
    found = []
    for node in region.graph.nodes:
        if node is source or not any(other in labels for other in inputs_of(node)):
            continue
        layer = region.layer_of(node)
        if layer is not None:
            read = labels[next(inputs_of(node))]
            channels = columns_of(layer, read, gaps=True)
            if channels is None or region.calls_of(layer) != 1:
                return None
            found.append(ColumnReader(layer, channels, read.padded or layer.pads_with_zeros))
        elif is_move(node) or (relus and is_relu(node)):
            result = _moved(region, node, labels, beyond)
            if result is None or (result.maximum and not maxima):
                return None
            labels[node] = result
        elif holds_tensors(node) or node.op == "output":
            return None
    return found


def _moved(region: Region, node: fx.Node, labels: dict[fx.Node, Labels], beyond: float) -> Labels | None:
    """What a move makes of labels; what else it reads is labelled as something else."""
    read = {}
    for other in sources_of(node):
        if other not in labels and not isinstance(other.meta["value"], Tensor):
            return None
        read[other] = labels.get(other) or Labels(torch.full(shape_of(other), beyond, dtype=torch.float64))
    return moved(node, region, read)
