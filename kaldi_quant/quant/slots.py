"""The products of layers in a network that runs: replaced, or watched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from kaldi_quant.quant.host import Executable, Parameters, Slot

#: Sees what a layer's product is given, (..., groups * in).
See = Callable[[Tensor], object]


def set_product(model: Executable, layer: str, product: nn.Module) -> None:
    """Puts another product in a layer's place, called with rows and the layer's bias, (out,) or None."""
    model.slot(layer).product = product
    model.forget_programs()


def bias_of(slot: Slot) -> Tensor:
    """(out,): the bias, without gradient; zeros where the layer has none."""
    return slot.weight.new_zeros(len(slot.weight)) if slot.bias is None else slot.bias.detach()


def trained_in_float(model: Executable, layers: Iterable[str]) -> Parameters:
    """What layers have now."""
    slots = {name: model.slot(name) for name in layers}
    return {name: (slot.weight.detach().cpu(), bias_of(slot).cpu()) for name, slot in slots.items()}


def columns_of(model: Executable, layer: str) -> int:
    """The columns of a layer's weight."""
    return model.slot(layer).weight.shape[1]


def groups_of_layer(model: Executable, layer: str) -> int:
    """The groups of columns of a layer's input (``grouped``)."""
    return model.slot(layer).groups


class Product(nn.Module):
    """A product by a function of its input alone: the bias is the function's own affair.

    Args:
        compute: (..., in) → (..., out).
    """

    def __init__(self, compute: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.compute = compute

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: (..., in) → (..., out)."""
        return self.compute(x)


class _Watched(nn.Module):
    def __init__(self, product: nn.Module, see: See) -> None:
        super().__init__()
        self.product, self.see = product, see

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        self.see(x)
        return self.product(x, bias)


@contextmanager
def watched(model: Executable, watchers: Mapping[str, See]) -> Iterator[None]:
    """Within the block, shows what layers' products are given."""
    before = {layer: model.slot(layer).product for layer in watchers}
    for layer, see in watchers.items():
        set_product(model, layer, _Watched(before[layer], see))
    try:
        yield
    finally:
        for layer, product in before.items():
            set_product(model, layer, product)


def rows_of(x: Tensor) -> Tensor:
    """(..., channels) → (rows, channels), a view where it can be."""
    return x.reshape(-1, x.shape[-1])


def rows_that_count(x: Tensor) -> Tensor:
    """The rows of a value, (..., channels) → (rows, channels), without those that are not finite.

    Where an optional input does not exist a mean is 0 / 0, which no output depends on; one that did would not be
    finite, and its unit left out.
    """
    rows = rows_of(x)
    # The extremes are found faster than each value is looked at, and one that is not finite is among them.
    if not rows.numel() or all(torch.isfinite(bound) for bound in rows.aminmax()):
        return rows
    return rows[torch.isfinite(rows).all(dim=1)]
