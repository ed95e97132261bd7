"""Where the channels of a value are after moves: labels in the place of values go through the very same operations.

A label is a positive number; zero is where there is nothing of what is followed, such as padding. Labels depend on an
example's sizes, and what is found must hold for all: so reshapes are followed only where they keep the axis of channels
or flatten all that there is of one sequence, which a layer reads as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx, nn

from kaldi_quant.torchnn.computation import compute
from kaldi_quant.torchnn.forms import Layer
from kaldi_quant.torchnn.graph_nodes import name_of
from kaldi_quant.torchnn.moves import MASKED, MAXIMA, RESHAPES, is_move, pads_with_zeros, sources_of
from kaldi_quant.torchnn.simplify import is_relu


@dataclass(frozen=True)
class Labels:
    """Labels that have gone through moves.

    Args:
        values: float64, shaped as the value that they stand for; or several, of a move that gives several.
        padded: whether zeros were put beside values on the way.
        maximum: whether largest values were taken on the way.
    """

    values: Tensor | tuple[Tensor, ...]
    padded: bool = False
    maximum: bool = False

    def along(self, axis: int, gaps: bool = False) -> Tensor | None:
        """The label of each place of an axis, if it is one for all other axes: (size,) int64.

        Args:
            axis: in question.
            gaps: whether zeros may be between labels; else they must be everywhere at a place, or nowhere.
        """
        assert isinstance(self.values, Tensor)
        rows = self.values.movedim(axis, 0).flatten(1)
        if not rows.shape[1]:
            return None
        largest = rows.amax(1)
        smallest = torch.where(rows == 0, largest.unsqueeze(1), rows).amin(1) if gaps else rows.amin(1)
        return largest.long() if torch.equal(largest, smallest) else None


def on_axis(shape: Iterable[int], axis: int, first: int = 1) -> Labels:
    """Labels of the channels of a value, from ``first`` on.

    Args:
        shape: of the value.
        axis: of its channels.
        first: label.
    """
    whole = torch.zeros(tuple(shape), dtype=torch.float64)
    numbers = torch.arange(first, first + whole.shape[axis], dtype=torch.float64)
    return Labels((whole.movedim(axis, -1) + numbers).movedim(-1, axis).contiguous())


def moved(node: fx.Node, root: nn.Module, labels: Mapping[fx.Node, Labels]) -> Labels | None:
    """What a move makes of labels; None where that might be another thing for other sizes.

    Args:
        node: a move, or a ReLU, which leaves labels as they are.
        root: of the graph.
        labels: of all nodes that it reads values of.
    """
    if not (is_move(node) or is_relu(node)):
        return None
    read = [labels[source] for source in sources_of(node)]
    name = name_of(node)
    if name == MASKED:
        # Which values it leaves is another matter at every call.
        return replace(read[0], padded=True)
    if name in RESHAPES and not _keeps_channels(node, read[0]):
        return None

    def values_of(sign: int) -> Callable[[fx.Node], object]:
        def value(other: fx.Node) -> object:
            if other not in labels:
                return other.meta["value"]
            found = labels[other].values
            return sign * found if isinstance(found, Tensor) else tuple(sign * x for x in found)

        return value

    maximum = name in MAXIMA
    try:
        result = compute(node, root, values_of(1))
        if maximum and not torch.equal(result, -compute(node, root, values_of(-1))):
            # It chooses among channels.
            return None
    except RuntimeError:
        # Views of values that lie in memory in another way.
        return None
    return Labels(
        tuple(result) if isinstance(result, list | tuple) else result,
        padded=pads_with_zeros(node) or any(x.padded for x in read),
        maximum=maximum or any(x.maximum for x in read),
    )


def columns_of(layer: Layer, labels: Labels, gaps: bool = False) -> Tensor | None:
    """The label that each column of a layer's input has, if it is one: (groups * in,) int64."""
    assert isinstance(labels.values, Tensor)
    return Labels(layer.rows(labels.values)).along(-1, gaps)


def _keeps_channels(node: fx.Node, before: Labels) -> bool:
    """Whether a reshape does the same to channels whatever the sizes are."""
    result, given = node.meta["value"], before.values
    if not isinstance(result, Tensor) or not isinstance(given, Tensor):
        return False
    old, new = given.shape, result.shape
    if old[-1] == new[-1] and _varies_along(given, -1):
        return True
    if len(old) > 1 and old[:2] == new[:2] and _varies_along(given, 1):
        return True
    # All of a sequence in one row.
    return len(new) == 2 and old[:1] == new[:1]


def _varies_along(labels: Tensor, axis: int) -> bool:
    """Whether labels differ along one axis at most."""
    rows = labels.movedim(axis, -1).reshape(-1, labels.shape[axis])
    return torch.equal(rows, rows[:1].expand_as(rows))
