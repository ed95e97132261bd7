"""BatchNorm made part of layers, without any change of the float output.

Its scale folds backwards, through moves and ReLUs, into the rows of the layer that computes what it reads: through
ReLUs where it is positive. Its offset becomes part of that layer's bias; behind a ReLU it is set aside for the biases
of the layers that read it, which are to be computed from the weights that these really have after quantization. A
BatchNorm that no layer computes the input of folds forwards, into the columns of the layers that read it.

Layers that put zeros around their input, and all else that does not take an offset, read values with the offset: it is
then added by a node of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from kaldi_quant.quant.grouped import by_group
from kaldi_quant.torchnn.channels import Labels, moved, on_axis
from kaldi_quant.torchnn.column_readers import column_readers
from kaldi_quant.torchnn.computation import constant
from kaldi_quant.torchnn.forms import Layer
from kaldi_quant.torchnn.graph_nodes import argument, is_constant, name_of, readers_of, shape_of
from kaldi_quant.torchnn.moves import MAXIMA, is_move, pads_with_zeros, sources_of
from kaldi_quant.torchnn.region import Region, regions_within
from kaldi_quant.torchnn.simplify import is_relu

#: For layers by name what their input lacks: (groups * in,) float64.
Offsets = dict[str, Tensor]

# A scale this much smaller than the largest is not multiplied into columns: what makes up for its offset would be
# beyond the precision of floats.
_LEAST_SHARE = 1e-6


class ChannelOffset(nn.Module):
    """Adds a number to each channel, axis 1: what remains of a BatchNorm whose scale has been folded.

    Args:
        offset: (channels,).
    """

    offset: Tensor

    def __init__(self, offset: Tensor) -> None:
        super().__init__()
        self.register_buffer("offset", offset)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, channels, ...)."""
        return x + self.offset.view(-1, *[1] * (x.dim() - 2))


def fold(region: Region) -> Offsets:
    """Folds the BatchNorms of a region and of those within it.

    Args:
        region: it is changed.

    Returns:
        What the inputs of layers lack from now on.
    """
    offsets: Offsets = {}
    for node in list(region.graph.nodes):
        norm = _norm(region, node)
        if norm is not None and not _backwards(region, norm, offsets):
            _forwards(region, norm, offsets)
    for inner in regions_within(region.original):
        offsets |= fold(inner)
    return offsets


_BATCH_NORM = ("input", "running_mean", "running_var", "weight", "bias")


@dataclass(frozen=True)
class _Norm:
    """A BatchNorm in test mode.

    Args:
        node: its call.
        scale: (channels,) float64.
        offset: (channels,) float64.
    """

    node: fx.Node
    scale: Tensor
    offset: Tensor

    @property
    def source(self) -> fx.Node:
        """What it reads."""
        return self.node.args[0]  # type: ignore[return-value]

    @property
    def is_positive(self) -> bool:
        return bool((self.scale > 0).all())

    def remove(self) -> None:
        """Lets all that read it read what it reads."""
        self.node.replace_all_uses_with(self.source)
        self.node.graph.erase_node(self.node)


def _norm(region: Region, node: fx.Node) -> _Norm | None:
    """The BatchNorm that a node is, if it computes with what it has learned."""
    if node.op != "call_function" or name_of(node) != "batch_norm" or not isinstance(node.args[0], fx.Node):
        return None
    given = [argument(node, place, name) for place, name in enumerate(_BATCH_NORM)]
    if argument(node, 5, "training", False) or any(isinstance(x, fx.Node) and not is_constant(x) for x in given[1:]):
        return None
    mean, variance, weight, bias = (None if x is None else constant(x, region).detach().double() for x in given[1:])
    if mean is None or variance is None:
        return None
    scale = (variance + argument(node, 7, "eps", 1e-5)).rsqrt()
    scale = scale if weight is None else scale * weight
    return _Norm(node, scale, (0.0 if bias is None else bias) - mean * scale)


def _backwards(region: Region, norm: _Norm, offsets: Offsets) -> bool:
    """Folds into the layer that computes what a BatchNorm reads, if there is one."""
    node, way = norm.source, []
    while (layer := region.layer_of(node)) is None:
        if not (is_relu(node) or is_move(node)) or pads_with_zeros(node) or len(sources_of(node)) != 1:
            return False
        if (is_relu(node) or name_of(node) in MAXIMA) and not norm.is_positive:
            return False
        way.append(node)
        node = sources_of(node)[0]
    if region.calls_of(layer) != 1 or any(len(readers_of(other)) != 1 for other in [node, *way]):
        return False
    labels: Labels | None = on_axis(shape_of(node), layer.channel_axis)
    read = node
    for step in reversed(way):
        labels = moved(step, region, {read: labels}) if labels is not None else None
        read = step
    channels = None if labels is None else labels.along(1)
    if channels is None or not torch.equal(channels.sort().values, torch.arange(1, len(channels) + 1)):
        return False
    if len(channels) * layer.rows_per_channel != len(layer.weight):
        return False
    rectified = any(is_relu(step) for step in way)
    order = torch.argsort(channels)
    _scale_rows(layer, norm.scale[order], None if rectified else norm.offset[order])
    if not rectified or not norm.offset.any():
        norm.remove()
        return True
    taken = column_readers(region, norm.node, 1)
    if taken is None or any(reader.padded for reader in taken):
        norm.node.op, norm.node.args, norm.node.kwargs = "call_module", (norm.source,), {}
        norm.node.target = region.add_part(ChannelOffset(norm.offset.to(layer.weight.dtype)))
        return True
    for reader in taken:
        _set_aside(offsets, reader.layer, reader.by_column(norm.offset, 0.0))
    norm.remove()
    return True


def _forwards(region: Region, norm: _Norm, offsets: Offsets) -> None:
    """Folds into the layers that read a BatchNorm, if nothing else does and they take all of it."""
    sizes = norm.scale.abs()
    if bool(((sizes > 0) & (sizes < _LEAST_SHARE * sizes.max())).any()):
        return
    taken = column_readers(region, norm.node, 1, maxima=norm.is_positive)
    if not taken or (norm.offset.any() and any(reader.padded for reader in taken)):
        return
    for reader in taken:
        layer = reader.layer
        scale, offset = reader.by_column(norm.scale, 1.0), reader.by_column(norm.offset, 0.0)
        # Columns whose scale is zero lose what they multiply: their share of the bias stays as it is.
        lost = torch.where(scale == 0, offset, 0.0)
        _scale_columns(layer, scale, lost)
        _set_aside(offsets, layer, torch.where(scale == 0, 0.0, offset / scale))
    norm.remove()


def _set_aside(offsets: Offsets, layer: Layer, offset: Tensor) -> None:
    offsets[layer.name] = offsets[layer.name] + offset if layer.name in offsets else offset


@torch.no_grad()
def _scale_rows(layer: Layer, scale: Tensor, offset: Tensor | None) -> None:
    """Multiplies the rows of channels, and their bias, and adds to that. scale, offset: (channels,) float64."""
    dtype = layer.weight.dtype
    rows = scale.repeat_interleave(layer.rows_per_channel)
    layer.weight.copy_(layer.weight.double() * rows.unsqueeze(1))
    if layer.bias is not None or offset is not None:
        bias = torch.zeros_like(rows) if layer.bias is None else layer.bias.double() * rows
        if offset is not None:
            bias = bias + offset.repeat_interleave(layer.rows_per_channel)
        layer.bias = nn.Parameter(bias.to(dtype))


@torch.no_grad()
def _scale_columns(layer: Layer, scale: Tensor, lost: Tensor) -> None:
    """Multiplies columns; what ``lost`` gives through the columns before that goes to the bias. (groups * in,) each."""
    weight = by_group(layer.weight.double(), layer.groups)
    factors, missing = (values.view(layer.groups, 1, -1) if layer.groups > 1 else values for values in (scale, lost))
    if lost.any():
        bias = (weight * missing).sum(-1).flatten()
        layer.bias = nn.Parameter((bias if layer.bias is None else bias + layer.bias).to(layer.weight.dtype))
    layer.weight.copy_((weight * factors).reshape(layer.weight.shape))
