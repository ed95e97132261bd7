"""A network quantized once in every width, layer by layer, whose layers can be put together at will.

Layers are fitted to the float network's inputs, each for itself: none depends on the widths of the others.
"""

from __future__ import annotations

from dataclasses import replace

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.host import Data, Source
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.ptq import kinds_of, quantize
from kaldi_quant.quant.search.widths import FLOAT_BITS, Widths, with_widths
from kaldi_quant.quant.sensitivity import without
from kaldi_quant.units import Bits


class Candidates:
    """The networks.

    Args:
        source: the float network.
        config: all but the widths; it is not fitted sequentially here.
        calibration: the calibration set.
        base: the widths of all layers but those in question.

    Raises:
        UsageError: the configuration is one of PyTorch's, or no layer can be quantized.
        DataError: the calibration set cannot be used.
    """

    def __init__(self, source: Source, config: PtqConfig, calibration: Data, base: Widths) -> None:
        if config.backend != "kaldi_quant":
            raise UsageError("the presets torch-* have 8 bits only: there are no widths to choose from")
        self.config = replace(config, sequential=False)
        self.calibration, self.base_widths = calibration, base
        self.kinds = kinds_of(source, config)
        self.base = quantize(source, self._uniform(base), calibration)
        if not self.base.layers:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.base.float_layers.items())
            raise UsageError(f"no layer can be quantized, so there are no widths to choose from ({reasons or 'none'})")
        self._latest = (base, self.base)
        #: The layers that read the same grids, so that their inputs have one width.
        self.input_groups = input_groups(self.base)

    def _uniform(self, widths: Widths) -> PtqConfig:
        return with_widths(self.config, self.kinds, dict.fromkeys(self.kinds, widths))

    def at(self, widths: Widths) -> QuantizedNetwork:
        """The network with all layers in the same widths: of those beside the base the latest is kept."""
        if widths == self.base_widths:
            return self.base
        if widths != self._latest[0]:
            # Rescaled channels stay as they are in the base: layers of different widths must fit together.
            config = replace(self._uniform(widths), equalization="none")
            self._latest = (widths, quantize(self.base.host, config, self.calibration))
        return self._latest[1]

    def with_weights(self, layer: str, bits: Bits) -> QuantizedNetwork:
        """The base with the weights of one layer in another width, or the layer in float."""
        if bits == FLOAT_BITS:
            return without(self.base, layer)
        other = self.at(replace(self.base_widths, bits=bits))
        return replace(self.base, layers={**self.base.layers, layer: other.layers[layer]})

    def with_inputs(self, group: tuple[str, ...], act_bits: Bits) -> QuantizedNetwork:
        """The base with what some layers read, of ``input_groups``, in another width."""
        other = self.at(replace(self.base_widths, act_bits=act_bits))
        layers = {name: other.layers[name] if name in group else layer for name, layer in self.base.layers.items()}
        graph = self.base.graph
        read = {node for name in group if name in graph.layers for node in graph.inputs_of(name)}
        shared = {node for nodes in graph.groups() if read & set(nodes) for node in nodes}
        grids = {node: (other if node in shared else self.base).activations[node] for node in self.base.activations}
        return replace(self.base, layers=layers, activations=grids)


def input_groups(network: QuantizedNetwork) -> list[tuple[str, ...]]:
    """The layers of a network, those together whose inputs lie on grids that they share."""
    graph = network.graph
    number = {node: position for position, nodes in enumerate(graph.groups()) for node in nodes}
    found: list[tuple[set[int], list[str]]] = []
    for name in network.layers:
        grids = {number[node] for node in graph.inputs_of(name)} if name in graph.layers else set()
        together = [part for part in found if part[0] & grids]
        for part in together:
            found.remove(part)
        members = [member for _, names in together for member in names]
        found.append((grids.union(*(part[0] for part in together)), [*members, name]))
    order = {name: position for position, name in enumerate(network.layers)}
    groups = [tuple(sorted(names, key=order.__getitem__)) for _, names in found]
    return sorted(groups, key=lambda names: order[names[0]])
