"""Candidates, which differ from a base in one width, and their costs: by running the network with them or by curvature.

Layers are fitted to the float network's inputs, each for itself: none depends on the widths of the others.

Source of the idea, one layer changed at a time and the changes' costs added: Y. Cai et al., "ZeroQ: A Novel Zero Shot
Quantization Framework", CVPR 2020 (sensitivity by Kullback-Leibler divergence).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.errors import UsageError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.distance import mean_distance
from kaldi_quant.quant.host import Data, Host, Source
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.ptq import kinds_of, quantize
from kaldi_quant.quant.search.measurements import Choice, Measurement, Store
from kaldi_quant.quant.search.options import FLOAT_BITS, SearchOptions, Widths, with_widths
from kaldi_quant.quant.search.second_order import SecondOrder
from kaldi_quant.quant.sensitivity import without
from kaldi_quant.units import Bits, Nats

# Curvature is averaged over so many utterances.
_UTTERANCES_OF_CURVATURE = 40

Cost = Callable[[QuantizedNetwork, Sequence[str]], Nats]


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


class Meter:
    """Measures networks on data.

    Args:
        host: the float network.
        data: development data.
    """

    def __init__(self, host: Host, data: Data) -> None:
        self.host, self.data = host, data

    def divergence(self, network: QuantizedNetwork) -> Nats:
        """The mean distance of outputs from the float network's, of acoustic models in nats per frame.

        Raises:
            DataError: too many units cannot be used.
        """
        expected = self._reference
        return mean_distance(self.host.distance, expected, dict(self.data.outputs(network.model(), BadUtterances(1.0))))

    @cached_property
    def _reference(self) -> dict[str, np.ndarray]:
        bad = BadUtterances(self.data.max_bad_share)
        rows = dict(self.data.outputs(self.host.executable(), bad))
        bad.check()
        # Said once is enough: further runs do without the bad ones.
        self.data.keep(rows)
        return rows


class Measuring:
    """The costs of all candidates.

    Args:
        candidates: the networks.
        meter: measures them.
        store: keeps what was measured.
        options: which candidates, and how.
    """

    def __init__(self, candidates: Candidates, meter: Meter, store: Store, options: SearchOptions) -> None:
        self.candidates, self.meter, self.store, self.options = candidates, meter, store, options
        self.base = candidates.base

    def choices(self) -> list[Choice]:
        """What must be measured."""
        base, how = self.options.base, self.options.estimate
        found = [Choice("base", "", base.bits, "measured")]
        # Width after width, because the network is quantized once for each.
        for bits in self.options.widths:
            found += [Choice("weights", layer, bits, how) for layer in self.base.layers if bits != base.bits]
        for bits in self.options.act_widths:
            groups = self.candidates.input_groups
            found += [Choice("inputs", group[0], bits, how) for group in groups if bits != base.act_bits]
        return found

    def run(self) -> Iterator[Measurement]:
        """Measures what the store does not know yet; to be consumed to the end."""
        for choice in self.choices():
            known = self.store.find(choice)
            if known is None:
                known = self._measured(choice)
                self.store.add(known)
            yield known

    @property
    def base_measurement(self) -> Measurement:
        """Of all layers in the base's widths."""
        return self._known("base", "", self.options.base.bits)

    def of_weights(self, layer: str, bits: Bits) -> Measurement:
        """Of a layer's weights in another width than the base's."""
        return self._known("weights", layer, bits)

    def of_inputs(self, group: Sequence[str], act_bits: Bits) -> Measurement:
        """Of what some layers read, in another width than the base's."""
        return self._known("inputs", group[0], act_bits)

    def _known(self, kind: str, layer: str, bits: Bits) -> Measurement:
        wanted = next(
            choice for choice in self.choices() if (choice.kind, choice.layer, choice.bits) == (kind, layer, bits)
        )
        found = self.store.find(wanted)
        assert found is not None, f"{wanted} was not measured"
        return found

    def _measured(self, choice: Choice) -> Measurement:
        kind, layer, bits, how = choice
        second_order = how == "second-order"
        if kind == "base":
            return Measurement(choice, self.meter.divergence(self.base))
        if kind == "weights":
            network = self.candidates.with_weights(layer, bits)
            cost: Cost = self._cost_of_weights if second_order else self._measured_cost
            return Measurement(choice, cost(network, [layer]))
        group = next(group for group in self.candidates.input_groups if group[0] == layer)
        network = self.candidates.with_inputs(group, bits)
        cost = self._cost_of_inputs if second_order else self._measured_cost
        return Measurement(choice, cost(network, group))

    def _measured_cost(self, network: QuantizedNetwork, _: Sequence[str]) -> Nats:
        return self.meter.divergence(network) - self.base_measurement.divergence

    def _cost_of_weights(self, network: QuantizedNetwork, layers: Sequence[str]) -> Nats:
        now = sum(self._second_order.of_weights(network, name) for name in layers if name in network.layers)
        return now - sum(self._second_order.of_weights(self.base, name) for name in layers)

    def _cost_of_inputs(self, network: QuantizedNetwork, layers: Sequence[str]) -> Nats:
        of_inputs = self._second_order.of_inputs
        return sum(of_inputs(network, name) - of_inputs(self.base, name) for name in layers)

    @cached_property
    def _second_order(self) -> SecondOrder:
        return SecondOrder(self.base.host, self.base.layers, self.meter.data.some(_UTTERANCES_OF_CURVATURE))
