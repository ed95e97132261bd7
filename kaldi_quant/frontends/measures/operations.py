"""Multiply-accumulates of a network, layer by layer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from kaldi_quant.quant.graph import matmuls, products
from kaldi_quant.quant.host import Host
from kaldi_quant.quant.slots import watched
from kaldi_quant.quant.taps import SeenTap


def multiply_accumulates(host: Host, *args: Any, **kwargs: Any) -> dict[str, int]:
    """How many products each layer, and each product of two values, adds up for a call.

    Args:
        host: the network.
        args: of the call.
        kwargs: of the call.
    """
    found: dict[str, int] = {}
    model = host.executable()

    def count(layer: str) -> Any:
        slot = model.slot(layer)

        def see(x: Tensor) -> None:
            rows = x.numel() // (x.shape[-1] or 1)
            found[layer] = found.get(layer, 0) + rows * math.prod(slot.weight.shape)

        return see

    def count_matmul(name: str) -> Any:
        inner = host.nodes[name].inner

        def see(x: Tensor) -> None:
            found[name] = found.get(name, 0) + x.numel() * inner

        return see

    taps = {name: SeenTap(model.taps.get(name), count_matmul(name)) for name in matmuls(host.nodes)}
    layers = {layer: count(layer) for layer in products(host.nodes)}
    with torch.no_grad(), watched(model, layers), model.taps.with_others(taps):
        model(*args, **kwargs)
    return found
