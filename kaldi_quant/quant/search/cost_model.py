"""What every choice takes: bytes, bits, divergence, bit operations; and the size of the file that holds it all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.search.allocation import Allocation, InputGroup, Option, Problem
from kaldi_quant.quant.search.bit_operations import products_per_frame
from kaldi_quant.quant.search.measuring import Measuring
from kaldi_quant.quant.search.sizes import hollow_network, layer_bytes
from kaldi_quant.quant.search.widths import FLOAT_BITS, Widths, in_widths
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.units import Bits, Bytes

#: Tells the size of a network's file, made as a configuration says.
FileSize = Callable[[QuantizedNetwork, PtqConfig], Bytes]

# Work per frame is averaged over so many utterances.
_UTTERANCES_OF_WORK = 3


class CostModel:
    """What choices take.

    Args:
        measuring: after it has run.
        config: all but the widths.
        file_size: of networks that are not made yet, whose integers mean nothing.
    """

    def __init__(self, measuring: Measuring, config: PtqConfig, file_size: FileSize) -> None:
        self.measuring, self.config, self.file_size = measuring, config, file_size
        self.base, self.options = measuring.base, measuring.options
        self.layer_configs = config.for_layers(measuring.candidates.kinds)

    @cached_property
    def problem(self) -> Problem:
        """All choices with what they take."""
        layers = {name: [self._option(name, widths) for widths in self._possible()] for name in self.base.layers}
        groups = []
        for group in self.measuring.candidates.input_groups:
            costs = {bits: self._inputs_divergence(group, bits) for bits in self.options.act_widths}
            groups.append(InputGroup(group, costs))
        return Problem(layers, groups)

    def _possible(self) -> list[Widths]:
        integers = [bits for bits in self.options.widths if bits != FLOAT_BITS]
        found = [Widths(bits, act_bits) for bits in integers for act_bits in self.options.act_widths]
        return [*found, *([Widths(FLOAT_BITS, FLOAT_BITS)] if FLOAT_BITS in self.options.widths else [])]

    def _option(self, name: str, widths: Widths) -> Option:
        is_base = widths.bits == self.options.base.bits
        divergence = 0.0 if is_base else self.measuring.of_weights(name, widths.bits).divergence
        weights = self.base.layers[name].weight.integers.numel()
        size = self._float_bytes(name) if widths.bits == FLOAT_BITS else self._integer_bytes(name, widths)
        work = self._products[name] * widths.bits * widths.act_bits
        return Option(widths.bits, widths.act_bits, size, weights * widths.bits, divergence, work)

    def _inputs_divergence(self, group: tuple[str, ...], bits: Bits) -> float:
        return 0.0 if bits == self.options.base.act_bits else self.measuring.of_inputs(group, bits).divergence

    @cached_property
    def _products(self) -> dict[str, float]:
        data = self.measuring.meter.data.some(_UTTERANCES_OF_WORK)
        return products_per_frame(self.base.host, self.base.layers, data)

    def _spec(self, name: str, widths: Widths) -> QSpec:
        return in_widths(self.layer_configs[name], widths).weight_spec()

    def _integer_bytes(self, name: str, widths: Widths) -> Bytes:
        rows, columns = self.base.layers[name].weight.integers.shape
        return layer_bytes(rows, columns, self._spec(name, widths))

    @cached_property
    def _all_in_base(self) -> dict[str, Widths]:
        return dict.fromkeys(self.base.layers, self.options.base)

    @cached_property
    def _base_file(self) -> Bytes:
        return self.size(self._all_in_base, self.config)

    def _float_bytes(self, name: str) -> Bytes:
        in_float = self.size({**self._all_in_base, name: Widths(FLOAT_BITS, FLOAT_BITS)}, self.config)
        return in_float - self._base_file + self._integer_bytes(name, self.options.base)

    @cached_property
    def rest(self) -> Bytes:
        """What the file holds beside the layers, but for a few digits that depend on their widths."""
        return self._base_file - sum(self._integer_bytes(name, self.options.base) for name in self.base.layers)

    def size(self, chosen: Mapping[str, Widths], config: PtqConfig) -> Bytes:
        """Of the file with layers in some widths, to the byte."""
        layers = {name: in_widths(self.layer_configs[name], widths) for name, widths in chosen.items()}
        return self.file_size(hollow_network(self.base, layers), config)

    @cached_property
    def weights(self) -> tuple[int, int]:
        """Weights of the layers that widths are chosen for, and of those that are in float anyway."""
        chosen = sum(layer.weight.integers.numel() for layer in self.base.layers.values())
        return chosen, sum(self.base.host.weight(name).numel() for name in self.base.float_layers)

    def bits_per_weight(self, weight_bits: float) -> float:
        """The mean, layers in float included, as in ``export.sizes``; ``weight_bits`` is the sum over all others."""
        chosen, in_float = self.weights
        return (weight_bits + FLOAT_BITS * in_float) / (chosen + in_float)

    def divergence(self, allocation: Allocation) -> float:
        """What is predicted: that of the base, and what each choice adds; nats per frame."""
        return self.measuring.base_measurement.divergence + allocation.totals["divergence"]
