"""A part of a quantized network by itself, with the same integers: what lies between values that stay in float."""

from __future__ import annotations

from kaldi_quant.errors import ModelError
from kaldi_quant.quant.graph import Node
from kaldi_quant.quant.grid import same_grid
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.torchnn.another_call import with_integers_of
from kaldi_quant.torchnn.host import TorchHost, TorchSource


def part_of(network: QuantizedNetwork, source: TorchSource) -> QuantizedNetwork:
    """The integers of a network on the graph of a part of it.

    Each input of the part stands for one value of the network, and lies on the grid of that.

    Args:
        network: its host is one of torch.
        source: the part in float, whose modules have the same paths; only its code counts.

    Raises:
        ModelError: it is no part of the network, or something that it reads has no grid.
    """
    if not isinstance(network.host, TorchHost):
        raise ModelError("only networks of torch.nn are taken apart")
    host = source.prepare(network.host.folded)
    inputs = _values_of_inputs(network.host, host)
    grids = {name: grid for name, grid in network.activations.items() if name not in inputs}
    for name, values in inputs.items():
        found = [network.activations[value] for value in sorted(values) if value in network.activations]
        if any(not same_grid(found[0], grid) for grid in found):
            raise _no_part(f"what it reads as {name} is several values there: {', '.join(sorted(values))}")
        if found:
            grids[name] = found[0]
    return with_integers_of(network, host, grids)


def _values_of_inputs(whole: TorchHost, part: TorchHost) -> dict[str, set[str]]:
    """For each input of the part what is read in its place in the whole.

    Raises:
        ModelError: the part computes something from other values than the whole does.
    """
    found: dict[str, set[str]] = {}
    inputs = {name for name, node in part.nodes.items() if node.op == "input"}
    for name, node in part.nodes.items():
        if node.op in ("input", "output"):
            continue
        if name not in whole.nodes:
            raise _no_part(f"it computes {name}")
        for one, other in _pairs(node, whole.nodes[name]):
            if one in inputs:
                found.setdefault(one, set()).add(other)
            elif one != other:
                raise _no_part(f"its {name} reads {one}, and there {other}")
    return found


def _pairs(node: Node, of_whole: Node) -> list[tuple[str, str]]:
    """What a node reads, in its order, beside what it reads in the whole."""
    if len(node.reads) != len(of_whole.reads):
        raise _no_part(f"its {node.name} reads {len(node.reads)} values, and there {len(of_whole.reads)}")
    return [(one.node, other.node) for one, other in zip(node.reads, of_whole.reads, strict=True)]


def _no_part(why: str) -> ModelError:
    return ModelError(f"that is no part of the network that was quantized: {why}")
