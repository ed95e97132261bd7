"""What a configuration leaves in float, with the reasons, and the kinds of grids that the rest lies on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kaldi_quant.quant.graph import QuantGraph, matmuls, products
from kaldi_quant.quant.host import Host
from kaldi_quant.quant.integer_matmul import longest_inner
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.spec import QSpec

# Terms of a sum lie on grids of at least this width: they are not stored, and their rounding adds to that of the sum.
_LEAST_TERM_BITS = 8


def float_reasons(prepared: Host, configs: Mapping[str, LayerConfig]) -> dict[str, str]:
    """The layers that stay in float, each with the reason.

    Args:
        prepared: the network.
        configs: for each layer how it is to be quantized.
    """
    reasons = {
        name: configs[name].float_reason or prepared.float_reason(name, configs[name].is_static)
        for name in products(prepared.nodes)
    }
    return {name: reason for name, reason in reasons.items() if reason}


def float_matmuls(prepared: Host, configs: Mapping[str, LayerConfig], layers: Sequence[str]) -> dict[str, str]:
    """The products of two values that stay in float, each with the reason.

    Args:
        prepared: the network.
        configs: for each layer and each product how it is to be quantized.
        layers: those in integers with static ranges, which have a say in the widths of what they read.
    """
    nodes, reasons = prepared.nodes, {}
    for name in matmuls(nodes):
        reason = configs[name].float_reason
        if not reason and configs[name].weights_only:
            reason = "weights alone are quantized, and it has none"
        elif not reason and not configs[name].is_static:
            reason = "its ranges would be dynamic, and those of both factors must be known beforehand"
        if reason:
            reasons[name] = reason
    graph = QuantGraph(nodes, layers, [name for name in matmuls(nodes) if name not in reasons])
    spec_of = {name: group_spec(graph, group, configs, signed=True) for group in graph.groups() for name in group}
    for name in graph.matmuls:
        one, other = (spec_of[names[0]] for names in nodes[name].factors)
        longest = longest_inner(one, other)
        if nodes[name].inner > longest:
            reasons[name] = (
                f"it adds up {nodes[name].inner} products of {one.bits}-bit and {other.bits}-bit integers, and 32-bit "
                f"accumulators hold {longest}"
            )
    return reasons


def group_spec(graph: QuantGraph, group: Sequence[str], configs: Mapping[str, LayerConfig], signed: bool) -> QSpec:
    """The kind of the grid that nodes share: as wide as the widest of what reads them asks for; symmetric if all do.

    A grid that the network itself declares is of that kind.
    """
    fixed = graph.declared(group)
    if fixed is not None:
        return fixed.spec
    readers = [configs[reader] for name in group for reader in graph.readers.get(name, [])]
    asked = [declared.bits for name in group if (declared := graph.all_nodes[name].declared) is not None]
    readers += [LayerConfig(act_bits=bits) for bits in asked]
    if not readers or any(name not in graph.readers for name in group if graph.all_nodes[name].declared is None):
        readers.append(LayerConfig(act_bits=_LEAST_TERM_BITS))
    widest = max(readers, key=lambda config: config.act_bits)
    symmetric = all(config.act_symmetric for config in readers)
    return replace(widest, act_symmetric=symmetric).activation_spec(signed, graph.is_per_column(group[0]))
