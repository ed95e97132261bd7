"""What every choice takes: bytes, bits, divergence, bit operations; and the size of the file that holds it all.

A layer's tensors are as ``formats/layer_tensors.py`` writes them. What the file holds besides depends on the widths by
a few digits alone; who writes it tells its size.

Source: the bit operations (BOPS) of Z. Yao et al., "HAWQ-V3: Dyadic Neural Network Quantization", ICML 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property

import torch

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.calibration import input_statistics
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.graph import QuantGraph
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.host import Data, Host, Source
from kaldi_quant.quant.integer_linear import DynamicLinear
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.packing import packed_bytes
from kaldi_quant.quant.ptq import kinds_of, quantize
from kaldi_quant.quant.quantized_layer import QuantizedLayer, bits_beside, static_layers
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.scale_groups import count_groups
from kaldi_quant.quant.search.allocation import Allocation, InputGroup, Option, Problem
from kaldi_quant.quant.search.measuring import Measuring
from kaldi_quant.quant.search.options import FLOAT_BITS, Budget, SearchOptions, Widths, in_widths, listed, with_widths
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.units import Bits, Bytes

#: Tells the size of a network's file, made as a configuration says.
FileSize = Callable[[QuantizedNetwork, PtqConfig], Bytes]

_SCALE_BYTES = _BIAS_BYTES = 4

# Work per frame is averaged over so many utterances.
_UTTERANCES_OF_WORK = 3

# The result's description, which is part of its file, differs in length by less than this.
_DESCRIPTION_BYTES = 400


def _layer_bytes(rows: int, columns: int, spec: QSpec) -> Bytes:
    """The bytes of a quantized layer's weights, scales, zero points and biases.

    Args:
        rows: output channels.
        columns: of the weight.
        spec: the weights' grid; each row, or group of a row's columns, has a scale in the file, and on affine grids a
            zero point; each row has a bias.
    """
    scales = rows * count_groups(columns, spec.group_size)
    zero_points = 0 if spec.symmetric else packed_bytes(scales, spec.bits)
    return packed_bytes(rows * columns, spec.bits) + _SCALE_BYTES * scales + _BIAS_BYTES * rows + zero_points


def _hollow_network(base: QuantizedNetwork, layers: Mapping[str, LayerConfig]) -> QuantizedNetwork:
    """A network that takes as many bytes as one of the given widths: its integers mean nothing.

    Args:
        base: quantized in any widths.
        layers: the configuration of each of its layers; those with a ``float_reason`` are in float.
    """
    reasons = {name: layers[name].float_reason for name in base.layers if layers[name].float_reason}
    kept = {name: layer for name, layer in base.layers.items() if name not in reasons}
    graph = QuantGraph(base.host.nodes, static_layers(kept), base.matmuls)
    activations: dict[str, Grid] = {}
    for node in graph.nodes:
        grid = base.activations[node]
        readers = [reader for reader in graph.readers.get(node, []) if reader in layers]
        widest = max((layers[reader].act_bits for reader in readers), default=grid.spec.bits)
        activations[node] = replace(grid, spec=replace(grid.spec, bits=widest))
    hollow = {name: _hollow(layer, layers[name]) for name, layer in kept.items()}
    return replace(base, layers=hollow, activations=activations, float_layers={**base.float_layers, **reasons})


def _hollow(layer: QuantizedLayer, config: LayerConfig) -> QuantizedLayer:
    integers, groups = torch.zeros_like(layer.weight.integers), layer.weight.groups
    grid = Grid(config.weight_spec(), torch.ones(()), torch.zeros((), dtype=torch.int32))
    weight = QuantizedWeight.on_grid(grid, integers, groups)
    if isinstance(layer, DynamicLinear):
        return DynamicLinear(weight, layer.bias, config.activation_spec(signed=True))
    return replace(layer, weight=weight)


def _products_per_frame(host: Host, layers: Iterable[str], data: Data) -> dict[str, float]:
    """The products of one weight and one input of each layer, per frame of features, as the network really runs.

    Args:
        host: the float network.
        layers: those in question.
        data: a few units.

    Raises:
        DataError: too many units cannot be used.
    """
    model = host.executable()
    # Rows of padding are no work.
    model.batches_of_one_length = True
    seen = input_statistics(model, layers, data, outer=False)
    amount = data.amount()
    return {name: host.weight(name).numel() * found.count / amount for name, found in seen.items()}


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
        size = self._float_bytes(name) if widths.bits == FLOAT_BITS else self._integer_bytes(name, widths)
        work = self._products[name] * widths.bits * (widths.act_bits or FLOAT_BITS)
        return Option(widths.bits, widths.act_bits, size, self._weight_bits(name, widths), divergence, work)

    def _weight_bits(self, name: str, widths: Widths) -> int:
        layer = self.base.layers[name]
        beside = 0 if widths.bits == FLOAT_BITS else bits_beside(layer, self._spec(name, widths))
        return layer.weight.integers.numel() * widths.bits + beside

    def _inputs_divergence(self, group: tuple[str, ...], bits: Bits) -> float:
        return 0.0 if bits == self.options.base.act_bits else self.measuring.of_inputs(group, bits).divergence

    @cached_property
    def _products(self) -> dict[str, float]:
        data = self.measuring.meter.data.some(_UTTERANCES_OF_WORK)
        return _products_per_frame(self.base.host, self.base.layers, data)

    def _spec(self, name: str, widths: Widths) -> QSpec:
        return in_widths(self.layer_configs[name], widths).weight_spec()

    def _integer_bytes(self, name: str, widths: Widths) -> Bytes:
        rows, columns = self.base.layers[name].weight.integers.shape
        return _layer_bytes(rows, columns, self._spec(name, widths))

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
        return self.file_size(_hollow_network(self.base, layers), config)

    @cached_property
    def weights(self) -> tuple[int, int]:
        """Weights of the layers that widths are chosen for, and of those that are in float anyway."""
        chosen = sum(layer.weight.integers.numel() for layer in self.base.layers.values())
        return chosen, sum(self.base.host.weight(name).numel() for name in self.base.float_layers)

    def bits_per_weight(self, weight_bits: float) -> float:
        """The mean, layers in float included, as in ``export.sizes``; ``weight_bits`` is the sum over all others."""
        chosen, in_float = self.weights
        return (weight_bits + FLOAT_BITS * in_float) / (chosen + in_float)

    def mean_width(self, bits: Mapping[str, Bits], act_bits: Mapping[str, Bits]) -> float:
        """``bits_per_weight`` with layers in some widths."""
        return self.bits_per_weight(sum(self._weight_bits(name, Widths(bits[name], act_bits[name])) for name in bits))

    def divergence(self, allocation: Allocation) -> float:
        """What is predicted: that of the base, and what each choice adds; nats per frame."""
        return self.measuring.base_measurement.divergence + allocation.totals["divergence"]


def check_size(budget: Budget, options: SearchOptions, config: PtqConfig, source: Source, file_size: FileSize) -> None:
    """Refuses a budget of bytes that is below the smallest model's size.

    Args:
        budget: of any kind; others than of bytes pass.
        options: the widths.
        config: all but the widths.
        source: the float network.
        file_size: of networks whose integers mean nothing.

    Raises:
        UsageError: the budget is too small.
    """
    if budget.kind != "bytes":
        return
    least = _least_bytes(options, config, source, file_size)
    if budget.amount < least - _DESCRIPTION_BYTES:
        raise UsageError(
            f"no allocation of {listed(options.widths)} meets the budget of {budget.text}: the smallest takes {least} "
            "bytes"
        )


def _least_bytes(options: SearchOptions, config: PtqConfig, source: Source, file_size: FileSize) -> Bytes:
    """The size of the file with all layers in the least widths, but for the length of its description."""
    kinds = kinds_of(source, config)
    integers = [bits for bits in options.widths if bits != FLOAT_BITS]
    widths = Widths(min(integers, default=FLOAT_BITS), min(options.act_widths))
    chosen = with_widths(config, kinds, dict.fromkeys(kinds, widths))
    quick = {name: {**fields, "method": "minmax"} for name, fields in chosen.layers.items()}
    plain = replace(
        chosen, layers=quick, sequential=False, equalization="none", observer="minmax", bias_correction=False
    )
    return file_size(quantize(source, plain, source.noise()), chosen)
