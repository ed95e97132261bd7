"""Post-training quantization: activation grids from a calibration set, then one layer after the other."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from kaldi_quant.heap import give_back_freed_memory, keeping_freed_memory
from kaldi_quant.progress import progress
from kaldi_quant.quant.calibration import InputStatistics, input_statistics, observe
from kaldi_quant.quant.column_factors import column_factors
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.equalization import equalize
from kaldi_quant.quant.fast_products import fast
from kaldi_quant.quant.graph import QuantGraph, is_rectified, matmuls, products
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.grouped import grouped_linear
from kaldi_quant.quant.host import Data, Host, Source, StepwiseExecutable
from kaldi_quant.quant.input_grids import input_grid
from kaldi_quant.quant.integer_linear import InputGrid, least_scale
from kaldi_quant.quant.kept_layers import Keeping, KeptLayers
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.layer_kinds import layer_kinds
from kaldi_quant.quant.left_in_float import float_matmuls, float_reasons, group_spec
from kaldi_quant.quant.network import QuantizedNetwork, moved
from kaldi_quant.quant.observers import OBSERVERS, ColumnMinMaxObserver, Observer
from kaldi_quant.quant.paired_moments import PairedSample, see_rows_on_grid
from kaldi_quant.quant.quantized_layer import QuantizedLayer, build_layer
from kaldi_quant.quant.ranges import Ranges, grid_over, ranges_of
from kaldi_quant.quant.side_by_side import MEMORY, SideBySide
from kaldi_quant.quant.slots import Product, set_product
from kaldi_quant.quant.so_far import SoFar
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.quant.weight_rounding import Fit, learn_rounding, needs_rows, on_grid, round_weight
from kaldi_quant.units import Bytes

_log = logging.getLogger(__name__)

# The equalization whose rule is for weights alone.
_WITH_FACTORS = "awq"


def quantize(
    source: Source,
    config: PtqConfig,
    data: Data,
    ranges: Ranges | None = None,
    keeping: Keeping | None = None,
    memory: Bytes = MEMORY,
) -> QuantizedNetwork:
    """Quantizes a network after training.

    Args:
        source: the float network.
        config: widths and methods.
        data: the calibration set; never test data.
        ranges: of activations, from ``calibrate``; by default they are found here.
        keeping: where what was made is kept, so that a run that was killed goes on.
        memory: what the calibration set's values may take that later layers read; the others wait on disk.

    Raises:
        UsageError: the configuration names layers that do not exist, or widths that overflow.
        DataError: the calibration set cannot be used.
        ModelError: the network cannot be executed.
    """
    kept = keeping.of(source, config, data, ranges) if keeping is not None else None
    return Quantizer(prepare(source, config, data), config, data, memory).run(ranges, kept)


def layer_configs(source: Source, config: PtqConfig) -> dict[str, LayerConfig]:
    """How each layer of a network, and each product of two values, is to be quantized; no data are needed.

    Raises:
        UsageError: the configuration names layers that do not exist.
        ModelError: the network cannot be prepared.
    """
    return config.for_layers(kinds_of(source, config))


def kinds_of(source: Source, config: PtqConfig) -> dict[str, set[str]]:
    """The kinds of each layer of a network, and of each product of two values, as a configuration quantizes it.

    Raises:
        ModelError: the network cannot be prepared.
    """
    return layer_kinds(source.prepare(config.folds).nodes)


def calibrate(source: Source, config: PtqConfig, data: Data) -> Ranges:
    """The activation ranges that ``quantize`` finds with the same arguments."""
    quantizer = Quantizer(prepare(source, config, data), config, data)
    return ranges_of(quantizer.grids_of(quantizer.observers()))


def prepare(source: Source, config: PtqConfig, data: Data) -> Host:
    """The network ready for quantization, its channels rescaled as the configuration says.

    Raises:
        UsageError: the configuration names layers that do not exist.
        DataError: the calibration set cannot be used.
        ModelError: the network cannot be prepared.
    """
    prepared = source.prepare(config.folds)
    if config.equalization == "none":
        return prepared
    return equalize(prepared, data, config.equalization, config.for_layers(layer_kinds(prepared.nodes)))


class Quantizer:
    """Quantizes a network, or one layer of it.

    Args:
        prepared: the network, from ``prepare``.
        config: widths and methods.
        data: the calibration set.
        memory: as of ``quantize``.
        factors: of the columns of layers whose weights alone are quantized; by default those that the configuration's
            equalization finds.

    Raises:
        UsageError: the configuration names layers that do not exist.
    """

    def __init__(
        self,
        prepared: Host,
        config: PtqConfig,
        data: Data,
        memory: Bytes = MEMORY,
        factors: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.config, self.data, self.memory = config, data, memory
        self.prepared = prepared
        self.configs = config.for_layers(layer_kinds(self.prepared.nodes))
        self.float_layers = float_reasons(self.prepared, self.configs)
        self.names = [name for name in products(self.prepared.nodes) if name not in self.float_layers]
        static = [name for name in self.names if self.configs[name].is_static]
        self.float_matmuls = float_matmuls(self.prepared, self.configs, static)
        in_integers = [name for name in matmuls(self.prepared.nodes) if name not in self.float_matmuls]
        self.graph = QuantGraph(self.prepared.nodes, static, in_integers)
        self._given_factors = factors

    @cached_property
    def factors(self) -> Mapping[str, Tensor]:
        """Of the columns of layers whose weights alone are quantized."""
        if self._given_factors is not None or self.config.equalization != _WITH_FACTORS:
            return self._given_factors or {}
        return column_factors(self.prepared, self.data, {name: self.configs[name] for name in self.names})

    @keeping_freed_memory()
    def run(self, ranges: Ranges | None, kept: KeptLayers | None = None) -> QuantizedNetwork:
        """Grids first, then the layers in the order of the graph.

        Args:
            ranges: of activations; by default they are found.
            kept: what was made before, and is not made again.
        """
        complete = self.prepared.complete()
        model = complete.executable()
        grids = kept.grids(self.data) if kept else None
        if grids is None:
            grids = self.grids_of(self.observers()) if ranges is None else self._grids_over(ranges)
            if kept:
                kept.keep_grids(grids, self.data)
        result = QuantizedNetwork(complete, {}, grids, self.float_layers, self.float_matmuls)
        for number, name in enumerate(self.names):
            before = kept.layer(number, self.inputs_of(name, grids)) if kept else None
            if before is None:
                break
            result.layers[name] = before
        if result.layers:
            _log.info("%d of %d layers were quantized before and are kept", len(result.layers), len(self.names))
        missing = self.names[len(result.layers) :]
        # Without any layer at all, the pass still tells unusable data.
        is_needed = not self.config.sequential and (missing or not self.names)
        statistics = input_statistics(model, missing, self.data, outer=True) if is_needed else {}
        together = self._together(model, result) if self.config.sequential and missing else None
        so_far = SoFar(together, self.prepared.distance) if together else ""
        with progress(len(missing), "quantizing", "layers", brief=True) as advance:
            for name in missing:
                advance(0, f"{name}{so_far}")
                give_back_freed_memory()
                original = self.prepared.weight(name).double()
                inputs = self.inputs_of(name, result.activations)
                # What a layer is fitted to goes before the next one's is collected.
                layer = result.layers[name] = self.layer(
                    name, original, inputs, self._fit(name, original, inputs, model, together, statistics)
                )
                if together:
                    set_product(together.model, name, Product(fast(moved(layer, self.data.device)).forward))
                if kept:
                    kept.keep_layer(len(result.layers) - 1, layer)
                advance(1)
        if together:
            together.close()
        # Its graph is that of all layers, whatever it was asked for meanwhile.
        return replace(result)

    def _fit(
        self,
        name: str,
        original: Tensor,
        inputs: InputGrid | None,
        model: StepwiseExecutable,
        together: SideBySide | None,
        statistics: dict[str, InputStatistics],
    ) -> Fit:
        """What a layer's integers are fitted to, the layers before it being quantized already."""
        sample = PairedSample() if needs_rows(self.configs[name]) else None
        if together is not None:
            moments = together.moments(name, sample, inputs)
            give_back_freed_memory()
            target = moments.compensated(original)
            return Fit(target, moments.covariance, moments.mean, moments.float_mean, sample)
        seen = statistics[name]
        if sample is not None:
            see_rows_on_grid(model, name, self.data, on_grid(inputs), sample.add)
        return Fit(original, seen.covariance, seen.mean, seen.mean, sample)

    def _together(self, model: StepwiseExecutable, quantized: QuantizedNetwork) -> SideBySide:
        """The float network beside what layers really see: those before them in integers, activations on grids."""
        other = replace(quantized, layers={}).model(self.data.device)
        for name, layer in quantized.layers.items():
            set_product(other, name, Product(fast(moved(layer, self.data.device)).forward))
        other.batches_of_one_length = any(self.configs[name].is_dynamic for name in self.names)
        return SideBySide(model, other, self.data, self.memory)

    def observers(self) -> dict[str, Observer]:
        """What has seen the calibration set's values of each node that lies on a grid; nodes of one grid share it."""
        observers: dict[str, Observer] = {}
        for group in self.graph.groups():
            per_column = self.graph.is_per_column(group[0])
            config = self.config
            if self.graph.declared(group) is None:
                shared = ColumnMinMaxObserver(config.feature_headroom) if per_column else OBSERVERS[config.observer]()
                observers.update(dict.fromkeys(group, shared))
        # Sequential fitting needs units that were seen to be usable.
        if observers or self.config.sequential:
            observe(self.prepared.complete().executable(), observers, self.data)
        return observers

    def grids_of(self, observers: Mapping[str, Observer]) -> dict[str, Grid]:
        """The grid of each node that lies on one, from what has seen its values."""
        grids: dict[str, Grid] = {}
        for group in self.graph.groups():
            fixed = self.graph.declared(group)
            if fixed is not None:
                grids.update(dict.fromkeys(group, fixed.grid()))
                continue
            observer = observers[group[0]]
            grids.update(dict.fromkeys(group, observer.grid(self._spec(group, observer.signed))))
        return grids

    def _grids_over(self, ranges: Ranges) -> dict[str, Grid]:
        grids: dict[str, Grid] = {}
        for group in self.graph.groups():
            name, fixed = group[0], self.graph.declared(group)
            if fixed is not None:
                grids.update(dict.fromkeys(group, fixed.grid()))
                continue
            low = ranges[name][0] if name in ranges else torch.zeros(1)
            spec = self._spec(group, bool((low < 0).any()))
            grid = grid_over(name, ranges, spec, self.prepared.nodes[name].channels)
            grids.update(dict.fromkeys(group, grid))
        return grids

    def _spec(self, group: list[str], signed: bool) -> QSpec:
        return group_spec(self.graph, group, self.configs, signed)

    def inputs_of(self, name: str, activations: Mapping[str, Grid]) -> InputGrid | None:
        """The grids that a layer's columns lie on; None where its ranges are dynamic, or its input is in float."""
        if not self.configs[name].is_static:
            return None
        return input_grid(self.prepared, self.graph, name, activations)

    def layer(self, name: str, original: Tensor, inputs: InputGrid | None, fit: Fit) -> QuantizedLayer:
        """A layer's integers.

        Args:
            name: of the layer.
            original: its weight, (out, in) float64.
            inputs: from ``inputs_of``.
            fit: what they are fitted to.

        Raises:
            UsageError: the widths would overflow 32-bit accumulators.
        """
        layer = self.configs[name]
        factor = self.factors.get(name)
        folded = torch.ones(original.shape[1], dtype=torch.float64) if factor is None else factor.double()
        folded = inputs.folded if inputs else folded
        is_folded = factor is not None or (inputs is not None and inputs.per_column)
        hessian = fit.covariance / torch.outer(folded, folded) if is_folded else fit.covariance
        float_bias = self.prepared.bias(name, original)
        on_steps = inputs is not None and not layer.group_size
        least = least_scale(float_bias, inputs) if inputs and on_steps else torch.zeros(len(original), 1)
        weight = round_weight(fit.target * folded, layer, hessian, least)
        learned = None
        if fit.sample:
            relu = is_rectified(self.prepared.nodes, name)
            weight, learned = learn_rounding(weight, fit, folded, (original, float_bias), relu)
        dequantized = weight.dequantized() / folded
        if not self.config.bias_correction:
            bias = self.prepared.bias(name, dequantized)
        elif learned is not None:
            bias = learned
        else:
            # The mean of what the float layer computes, less that of what this one would.
            of_float, of_integers = (
                grouped_linear(mean, rows, groups=fit.groups)
                for mean, rows in ((fit.float_mean, original), (fit.mean, dequantized))
            )
            bias = of_float + float_bias - of_integers
        dynamic = layer.activation_spec(signed=True) if layer.is_dynamic else None
        return build_layer(weight, bias, inputs, dynamic, factor)
