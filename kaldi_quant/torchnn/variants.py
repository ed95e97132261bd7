"""Calls of other sizes than an example's that a network bears: what must not depend on sizes is tried on them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from kaldi_quant.torchnn.calls import Call

# Axes become so much longer: by one or two, which tells even from odd, and by more than any stride.
_LONGER = (1, 2, 17)


def variants(network: nn.Module, call: Call) -> Iterator[Call]:
    """The call with some axes longer, as far as the network can be run on it.

    Axes of one length are made longer together, as they may have to be the same, and each by itself.

    Args:
        network: in test mode.
        call: the example.
    """
    shapes = [tuple(x.shape) for x in call.tensors]
    places = [(which, axis) for which, shape in enumerate(shapes) for axis in range(len(shape))]
    together = [[(w, a) for w, a in places if shapes[w][a] == size] for size in {n for s in shapes for n in s}]
    for chosen in {tuple(axes) for axes in [*together, *([place] for place in places)]}:
        for more in _LONGER:
            longer = call.with_tensors(
                [
                    _longer(x, [axis for number, axis in chosen if number == which], more)
                    for which, x in enumerate(call.tensors)
                ]
            )
            if _bears(network, longer):
                yield longer


def _longer(x: Tensor, axes: list[int], more: int) -> Tensor:
    """A tensor with some axes longer, its values repeated."""
    for axis in axes:
        size = x.shape[axis]
        if size:
            x = x.index_select(axis, torch.arange(size + more, device=x.device) % size)
    return x.clone()


def _bears(network: nn.Module, call: Call) -> bool:
    try:
        with torch.no_grad():
            call.copied().run(network)
    except FAILURES:
        return False
    return True


#: What a network raises that cannot be run or traced as it is called.
FAILURES = (
    TypeError,
    ValueError,
    RuntimeError,
    AttributeError,
    LookupError,
    NameError,
    NotImplementedError,
    AssertionError,
    ArithmeticError,
)
