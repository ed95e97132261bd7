"""Channels of a torch network that can be rescaled without any change of its output.

What a layer computes for a channel is divided by a positive factor, and the weights that read it are multiplied by the
same. Between the two may be ReLUs and moves, which do the same to multiples, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.quant.channel_groups import ChannelGroup
from kaldi_quant.quant.host import Parameters
from kaldi_quant.torchnn.column_readers import ColumnReader, column_readers
from kaldi_quant.torchnn.forms import Layer
from kaldi_quant.torchnn.region import Region


def channel_groups(region: Region) -> Iterator[ChannelGroup]:
    """The channels of each layer that nothing but layers reads, all of these without groups of columns."""
    for inner in region.modules():
        if not isinstance(inner, Region):
            continue
        for node in inner.graph.nodes:
            layer = inner.layer_of(node)
            if layer is None or inner.calls_of(layer) != 1:
                continue
            readers = column_readers(inner, node, layer.channel_axis, relus=True)
            if readers and all(reader.layer.groups == 1 for reader in readers):
                yield _group(layer, inner.program.points[node.name], readers)


def _group(layer: Layer, node: str, readers: list[ColumnReader]) -> ChannelGroup:
    channels = len(layer.weight) // layer.rows_per_channel
    numbers = torch.arange(channels)
    return ChannelGroup(
        channels,
        nodes={node: numbers.numpy()},
        producers={layer.name: numbers.repeat_interleave(layer.rows_per_channel).numpy()},
        consumers={reader.layer.name: reader.by_column(numbers, -1).numpy() for reader in readers},
    )


def rescaled_parameters(
    region: Region, offsets: Mapping[str, Tensor], factors: Mapping[ChannelGroup, np.ndarray]
) -> tuple[Parameters, dict[str, Tensor]]:
    """Weights and biases of layers, and what their inputs lack, with each channel divided by its factor.

    Args:
        region: that the groups are of.
        offsets: what inputs of layers lack, (in,).
        factors: for each group (group.size,) positive.
    """
    rows: dict[str, Tensor] = {}
    columns: dict[str, Tensor] = {}
    for group, factor in factors.items():
        for found, tables in ((rows, group.producers), (columns, group.consumers)):
            for name, channels in tables.items():
                of_each = torch.from_numpy(np.append(factor, 1.0)[channels])
                found[name] = found.get(name, torch.ones(())) * of_each
    parameters = {}
    for name in [*rows, *(name for name in columns if name not in rows)]:
        layer, of_rows = region.layers[name], rows.get(name, torch.ones(1, dtype=torch.float64))
        bias = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias.detach()
        weight = layer.weight.detach().double() / of_rows.unsqueeze(1) * columns.get(name, torch.ones(()))
        parameters[name] = (weight, bias.double() / of_rows)
    return parameters, {name: offset / columns.get(name, torch.ones(())) for name, offset in offsets.items()}
