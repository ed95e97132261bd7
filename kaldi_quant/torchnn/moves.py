"""Nodes of a traced graph that choose, move or repeat values, and compute nothing.

Values stay on their grid, so moves are no nodes of the quantizer's graph. The same goes for maxima, as rounding to a
grid keeps the order of values, and for padding and masking with zeros, as zero is on every grid.
"""

from __future__ import annotations

from torch import Tensor, fx

from kaldi_quant.torchnn.graph_nodes import argument, holds_tensors, inputs_of, name_of

#: Moves after which every value is there once, in some arrangement.
_REARRANGEMENTS = frozenset(
    {
        *("reshape", "view", "flatten", "unflatten", "ravel", "view_as", "reshape_as", "squeeze", "unsqueeze"),
        *("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "T", "mT", "roll", "flip"),
        *("contiguous", "clone", "detach", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
    }
)
#: Rearrangements whose result depends on how long axes are.
RESHAPES = frozenset({"reshape", "view", "flatten", "unflatten", "ravel", "view_as", "reshape_as"})
#: Moves that leave values out, repeat them, or put those of several tensors together.
_CHOICES = frozenset(
    {
        *("getitem", "chunk", "split", "tensor_split", "unbind", "narrow", "select", "index_select", "gather"),
        *("take_along_dim", "expand", "expand_as", "broadcast_to", "repeat", "repeat_interleave", "tile", "unfold"),
        *("cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack"),
    }
)
#: Largest values.
MAXIMA = frozenset(
    {
        *("max_pool1d", "max_pool2d", "max_pool3d", "_max_pool1d", "_max_pool2d", "_max_pool3d", "amax"),
        *("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"),
        *("_adaptive_max_pool1d", "_adaptive_max_pool2d", "_adaptive_max_pool3d"),
    }
)
#: A move where what it fills in is zero.
MASKED = "masked_fill"
#: Moves only where the type stays.
_TYPES = frozenset({"float", "to", "type", "type_as"})
_NEAREST = frozenset({"nearest", "nearest-exact"})


def is_move(node: fx.Node) -> bool:
    """Whether a node does nothing but choose, move or repeat values of a tensor, take largest ones, or add zeros."""
    if node.op not in ("call_function", "call_method") or not holds_tensors(node):
        return False
    name = name_of(node)
    if name in _REARRANGEMENTS or name in _CHOICES:
        # One of several results of something that is no move is computed by that.
        return all(isinstance(source.meta["value"], Tensor) or is_move(source) for source in sources_of(node))
    if name in MAXIMA:
        return isinstance(node.meta["value"], Tensor)
    if name in _TYPES:
        # Of a tensor that it leaves as it is.
        return node.meta["value"].dtype == next(inputs_of(node)).meta["value"].dtype
    if name == MASKED:
        return _masks_with_zeros(node)
    if name == "pad":
        return not _pads_with_a_constant(node) or pads_with_zeros(node)
    return name in ("interpolate", "upsample") and argument(node, 3, "mode", "nearest") in _NEAREST


def pads_with_zeros(node: fx.Node) -> bool:
    """Whether a node puts zeros beside values, or in their place."""
    if name_of(node) == MASKED:
        return True
    return name_of(node) == "pad" and _pads_with_a_constant(node) and argument(node, 3, "value") in (None, 0)


def _masks_with_zeros(node: fx.Node) -> bool:
    """Whether a node puts zeros in the place of some values, and leaves the others where they are."""
    value, source = argument(node, 2, "value"), argument(node, 0, "input")
    if isinstance(value, fx.Node) or value != 0 or not isinstance(source, fx.Node):
        return False
    return source.meta["value"].shape == node.meta["value"].shape


def _pads_with_a_constant(node: fx.Node) -> bool:
    return argument(node, 2, "mode", "constant") == "constant"


def sources_of(move: fx.Node) -> list[fx.Node]:
    """The nodes whose values a move chooses from."""
    tensors = argument(move, 0, "input", argument(move, 0, "tensors"))
    return [x for x in (tensors if isinstance(tensors, list | tuple) else [tensors]) if isinstance(x, fx.Node)]


def is_rearrangement(node: fx.Node) -> bool:
    """Whether a move leaves every value there, once."""
    return name_of(node) in _REARRANGEMENTS | _TYPES
