"""Modules of a network in the place of others, by the names that a kind has for them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.errors import DataError, ModelError

#: The network within what normalises levels.
INNER = "network"


def module_of(network: nn.Module, name: str) -> nn.Module:
    """A module by the name that a kind has for it, also within what normalises levels.

    Raises:
        ModelError: there is none.
    """
    for path in (name, f"{INNER}.{name}"):
        try:
            return network.get_submodule(path)
        except AttributeError:
            continue
    raise ModelError(f"the network has no module {name}: it is not of the kind that was given")


def put_module(network: nn.Module, name: str, module: nn.Module) -> None:
    """Puts another module in the place of ``module_of``."""
    before = module_of(network, name)
    for parent in network.modules():
        for own, child in parent.named_children():
            if child is before:
                setattr(parent, own, module)


@torch.no_grad()
def greatest(
    network: nn.Module,
    names: Collection[str],
    mixtures: Iterable[Tensor],
    value: Callable[[tuple[Any, ...], Tensor], Tensor],
) -> dict[str, float]:
    """The greatest size of what modules read or give.

    Args:
        network: is left as it is.
        names: of the modules.
        mixtures: (N, C, T) each, that the network is run on.
        value: of the arguments and the result of a module.

    Raises:
        DataError: there is no mixture, or a module is not used.
        ModelError: there is no such module.
    """
    found: dict[str, float] = {}
    watched = copy.deepcopy(network).eval()

    def watch(name: str) -> Callable[..., None]:
        def see(_: nn.Module, args: tuple[Any, ...], result: Tensor) -> None:
            found[name] = max(found.get(name, 0.0), float(value(args, result).abs().amax()))

        return see

    for name in names:
        module_of(watched, name).register_forward_hook(watch(name))
    for mixture in mixtures:
        watched(mixture)
    if set(found) != set(names):
        raise DataError(f"no mixture to calibrate on, or the network does not use {', '.join(set(names) - set(found))}")
    return found
