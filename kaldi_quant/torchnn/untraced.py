"""Modules that cannot be traced as a whole: those of their own modules that can be become regions within them.

Such a module goes on being called as it is, and calls the regions in the place of its own modules.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.utils import _pytree as pytree

from kaldi_quant.torchnn.calls import Call
from kaldi_quant.torchnn.layers import put_layers
from kaldi_quant.torchnn.own_modules import is_packed, with_own_modules
from kaldi_quant.torchnn.region import Region, joined


def region_of(network: nn.Module, call: Call) -> Region:
    """A network as a region with layers, wherever in it they can be found.

    Args:
        network: in test mode; it becomes part of the region.
        call: an example of how it is called.
    """
    network = with_own_modules(network, call)
    region = Region.traced(network, call)
    taken = put_layers(region)
    if region.reasons:
        _Within(_calls_within(network, call)).put(region, taken)
    return region


@dataclass
class _Calls:
    """How a module is called while the network runs on an example.

    Args:
        first: call.
        kinds: of all its calls.
    """

    first: Call
    kinds: set[str] = field(default_factory=set)


def _calls_within(network: nn.Module, call: Call) -> dict[str, _Calls]:
    """How a network's modules are called, by path; the network is left as it is."""
    found: dict[str, _Calls] = {}
    copied = copy.deepcopy(network)

    def recorder(path: str) -> Callable[..., None]:
        def record(module: nn.Module, args: tuple, kwargs: dict) -> None:
            this = Call(args, kwargs)
            if path not in found:
                found[path] = _Calls(this.copied())
            found[path].kinds.add(_kind(this))

        return record

    for path, module in copied.named_modules():
        module.register_forward_pre_hook(recorder(path), with_kwargs=True)
    with torch.no_grad():
        call.copied().run(copied)
    return found


def _kind(call: Call) -> str:
    """What calls of one kind have in common."""
    leaves, spec = pytree.tree_flatten((call.args, dict(call.kwargs)))
    return f"{spec} {[(x.dim(), x.dtype) if isinstance(x, torch.Tensor) else x for x in leaves]}"


class _Within:
    """Puts regions into modules that cannot be traced.

    Args:
        calls: of all modules of the network.
    """

    def __init__(self, calls: dict[str, _Calls]) -> None:
        self.calls = calls
        #: For modules that can be traced their regions; None where there are no layers in them.
        self._made: dict[nn.Module, Region | None] = {}

    def put(self, region: Region, taken: Iterable[int]) -> None:
        """Puts regions into the modules of a region that cannot be traced.

        Args:
            region: the outer one.
            taken: what is the weight of a layer already, by ``id``: no other layer can have it.
        """
        for path in region.reasons:
            self._put_into(region.original.get_submodule(path), joined(region.path, path), set(taken))

    def _put_into(self, module: nn.Module, path: str, taken: set[int]) -> None:
        for name, child in list(module._modules.items()):
            if child is None:
                continue
            inner = joined(path, name)
            made = self._region(child, inner, taken)
            if made is not None:
                module._modules[name] = made
            elif child not in self._made:
                self._put_into(child, inner, taken)

    def _region(self, module: nn.Module, path: str, taken: set[int]) -> Region | None:
        if module not in self._made:
            calls = self.calls.get(path)
            if calls is None or len(calls.kinds) > 1 or is_packed(calls.first):
                return None
            if taken & {id(x) for x in module.parameters()}:
                return None
            region = Region.traced(module, calls.first, path)
            if "" in region.reasons:
                return None
            self.put(region, taken | put_layers(region))
            self._made[module] = region if region.layers else None
        return self._made[module]
