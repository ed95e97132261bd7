"""A quantized network that is called in another way: with states, or without, and the same integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from kaldi_quant.errors import ModelError
from kaldi_quant.quant.graph import QuantGraph
from kaldi_quant.quant.grid import Grid, same_grid
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.torchnn.forms import Layer
from kaldi_quant.torchnn.host import TorchHost, TorchSource
from kaldi_quant.torchnn.region import Region, joined


def called_otherwise(network: QuantizedNetwork, source: TorchSource) -> QuantizedNetwork:
    """The integers of a network on the graph of another call.

    Layers, grids and all other tensors are those of the quantized network. Nodes that it does not have, such as states
    that are given, lie on the grids of what layers read beside them.

    Args:
        network: its host is one of torch.
        source: the float network with the other call as its example; only its code counts.

    Raises:
        ModelError: it is another network, or something that it reads has no grid.
    """
    before = _torch_host(network)
    host = source.prepare(before.folded)
    for name, node in before.nodes.items():
        if node.op not in ("input", "output") and name not in host.nodes:
            raise _another(f"it does not compute {name}")
    given, taken = _own_tensors(before.region), _own_tensors(host.region)
    if missing := given.keys() - taken.keys():
        raise _another(f"{_shown(min(missing))} is not the same there")
    return with_integers_of(network, host, network.activations)


def with_integers_of(network: QuantizedNetwork, host: TorchHost, grids: Mapping[str, Grid]) -> QuantizedNetwork:
    """What a host computes, all of which a quantized network computes, too, with its integers.

    Args:
        network: its host is one of torch.
        host: its own parameters do not count.
        grids: of nodes by name.

    Raises:
        ModelError: it computes something else, or something that it reads has no grid.
    """
    before = _torch_host(network)
    _check_nodes(before, host)
    given, taken = _own_tensors(before.region), _own_tensors(host.region)
    for name, value in taken.items():
        if name not in given or given[name].shape != value.shape:
            raise _another(f"{_shown(name)} is not the same there")
    with torch.no_grad():
        for name, value in taken.items():
            value.copy_(given[name])
    layers = {name: layer for name, layer in network.layers.items() if name in host.region.layers}
    float_layers = {name: why for name, why in network.float_layers.items() if name in host.region.layers}
    found = host.with_parameters(
        {name: _parameters(before.region.layers[name]) for name in host.region.layers if name not in layers}
    )
    float_matmuls = {name: why for name, why in network.float_matmuls.items() if name in host.nodes}
    called = QuantizedNetwork(found, layers, {}, float_layers, float_matmuls)
    called = replace(called, activations=_grids(called.graph, grids))
    return replace(called, host=called.dequantized())


def _torch_host(network: QuantizedNetwork) -> TorchHost:
    if not isinstance(network.host, TorchHost):
        raise ModelError("only networks of torch.nn are called in another way, or in part")
    return network.host


def _shown(name: str) -> str:
    return name.removeprefix("original.")


def _check_nodes(before: TorchHost, after: TorchHost) -> None:
    """Refuses a network that computes what another one does not.

    Raises:
        ModelError: it has other nodes or layers.
    """
    for name, node in before.nodes.items():
        if name in after.nodes and node.op not in ("input", "output"):
            if after.nodes[name].op != node.op:
                raise _another(f"it does not compute {name}")
            if before.description.float_operations.get(name) != after.description.float_operations.get(name):
                raise _another(f"it computes {name} otherwise")
    for name, layer in after.region.layers.items():
        other = before.region.layers.get(name)
        if other is None or (other.weight.shape, other.groups) != (layer.weight.shape, layer.groups):
            raise _another(f"the layer {name} is not the same there")


def _parameters(layer: Layer) -> tuple[Tensor, Tensor]:
    bias = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias.detach()
    return layer.weight.detach(), bias


def _own_tensors(region: Region) -> dict[str, Tensor]:
    """All that nodes read but the parameters of layers, by name."""
    paths: set[str] = set()
    for inner in (module for module in region.modules() if isinstance(module, Region)):
        where = next(path for path, module in region.named_modules() if module is inner)
        paths |= {joined(where, path) for path in _read_paths(inner)}
    found = region.state_dict(keep_vars=True)
    return {name: value for name, value in found.items() if any(name == p or name.startswith(f"{p}.") for p in paths)}


def _read_paths(region: Region) -> set[str]:
    """Where the tensors and modules are that a graph needs, layers and recurrences of them aside."""
    named = (node for node in region.graph.nodes if node.op == "call_module" or (node.op == "get_attr" and node.users))
    return {str(node.target) for node in named if region.layer_of(node) is None and region.recurrence_of(node) is None}


def _grids(graph: QuantGraph, known: Mapping[str, Grid]) -> dict[str, Grid]:
    """The grid of each node.

    Raises:
        ModelError: there is none for one, or several.
    """
    found: dict[str, Grid] = {}
    for group in graph.groups():
        grids = [known[name] for name in group if name in known]
        if not grids or not all(same_grid(grids[0], grid) for grid in grids):
            raise _another(f"there is no grid for {', '.join(group)}")
        found.update(dict.fromkeys(group, grids[0]))
    return found


def _another(why: str) -> ModelError:
    return ModelError(f"the network is not the one that was quantized: {why}")
