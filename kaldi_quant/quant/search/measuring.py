"""Every candidate's cost, by running the network with it or by the curvature at its layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.search.candidates import Candidates
from kaldi_quant.quant.search.measurements import Choice, Measurement, Meter
from kaldi_quant.quant.search.options import SearchOptions
from kaldi_quant.quant.search.second_order import SecondOrder
from kaldi_quant.quant.search.store import Store
from kaldi_quant.units import Bits, Nats

# Curvature is averaged over so many utterances.
_UTTERANCES_OF_CURVATURE = 40

Cost = Callable[[QuantizedNetwork, Sequence[str]], Nats]


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
