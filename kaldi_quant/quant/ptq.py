"""Post-training quantization: activation grids from a calibration set, then one layer after the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.descriptor import (
    Append,
    Descriptor,
    Failover,
    IfDefined,
    NodeName,
    Offset,
    ReplaceIndex,
    Round,
    Switch,
)
from kaldi_quant.kaldi.nnet import ComponentNode, InputNode, Nnet
from kaldi_quant.nnet.model import AcousticModel
from kaldi_quant.quant.calibration import CalibrationSet, InputStatistics, input_statistics, observe
from kaldi_quant.quant.config import LayerConfig, PtqConfig
from kaldi_quant.quant.gptq import gptq_round
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import InputGrid, IntegerLinear
from kaldi_quant.quant.linear_components import HEIGHT_TYPES, weight_of
from kaldi_quant.quant.network import QuantizedNetwork, activation_nodes, linear_layers
from kaldi_quant.quant.observers import OBSERVERS, ColumnMinMaxObserver, Observer
from kaldi_quant.quant.prepare import prepare
from kaldi_quant.quant.weight_grids import minmax_grid, mse_grid


def quantize(nnet: Nnet, config: PtqConfig, data: CalibrationSet) -> QuantizedNetwork:
    """Quantizes a network after training.

    Args:
        nnet: as read from its file.
        config: widths and methods.
        data: the calibration set; never test data.

    Raises:
        UsageError: the configuration names layers that do not exist, or widths that overflow.
        DataError: the calibration set cannot be used.
        ModelError: the network cannot be executed or quantized.
    """
    return _Quantizer(nnet, config, data).run()


class _Quantizer:
    def __init__(self, nnet: Nnet, config: PtqConfig, data: CalibrationSet) -> None:
        self.config, self.data = config, data
        self.prepared = prepare(nnet)
        names = linear_layers(self.prepared.nnet)
        self.configs = config.for_layers(names)
        self.float_layers = {name: layer.float_reason for name, layer in self.configs.items() if layer.float_reason}
        self.names = [name for name in names if name not in self.float_layers]
        self.nodes = {node.component: node for node in self.prepared.nnet.nodes_of(ComponentNode)}

    def run(self) -> QuantizedNetwork:
        model = AcousticModel(self.prepared.float_nnet())
        result = QuantizedNetwork(self.prepared, {}, self._activation_grids(model), self.float_layers)
        float_means = {name: found.mean for name, found in self._statistics(model, self.names, False).items()}
        at_once = None if self.config.sequential else self._statistics(model, self.names, True)
        for name in self.names:
            # What the layer really sees: the layers before it in integers, activations on their grids.
            statistics = at_once[name] if at_once else self._statistics(result.model(), [name], True)[name]
            result.layers[name] = self._layer(name, result, statistics, float_means[name])
        return result

    def _statistics(self, model: AcousticModel, names: list[str], outer: bool) -> dict[str, InputStatistics]:
        return input_statistics(model, names, self.data, outer)

    def _activation_grids(self, model: AcousticModel) -> dict[str, Grid]:
        readers = activation_nodes(self.prepared.nnet, self.names)
        nnet = self.prepared.nnet
        # A convolution's weights meet every height, so that its input has one grid for all of them.
        inputs = {
            node.name
            for node in nnet.nodes_of(InputNode)
            if node.name in readers
            if not any(nnet.components[reader].type in HEIGHT_TYPES for reader in readers[node.name])
        }

        def make(name: str) -> Observer:
            return ColumnMinMaxObserver() if name in inputs else OBSERVERS[self.config.observer]()

        grids = {}
        for name, observer in observe(model, readers, make, self.data).items():
            layer = max((self.configs[reader] for reader in readers[name]), key=lambda layer: layer.act_bits)
            grids[name] = observer.grid(layer.activation_spec(observer.signed, name in inputs))
        return grids

    def _input_grid(self, name: str, activations: dict[str, Grid]) -> InputGrid:
        """One scale and zero point for each column of a layer's weight."""
        descriptor, nnet = self.nodes[name].input, self.prepared.nnet
        grids = [activations[leaf.node] for leaf in descriptor.leaves()]
        columns = weight_of(nnet.components[name]).shape[1]

        def expand(values: dict[str, Tensor]) -> Tensor:
            one = _by_column(descriptor, lambda node: values[node].expand(nnet.node_dim(node)))
            if nnet.components[name].type not in HEIGHT_TYPES:
                # A TdnnComponent's columns repeat for each time offset.
                return one.repeat(columns // len(one))
            if not (one == one[0]).all():
                raise ModelError(f"{nnet.path}: the convolution {name} reads columns of different grids")
            return one[:1].expand(columns)

        scale = expand({node: grid.scale for node, grid in activations.items()})
        zero_point = expand({node: grid.zero_point for node, grid in activations.items()})
        return InputGrid(scale, zero_point, min(g.spec.qmin for g in grids), max(g.spec.qmax for g in grids))

    def _layer(
        self, name: str, network: QuantizedNetwork, statistics: InputStatistics, float_mean: Tensor
    ) -> IntegerLinear:
        layer = self.configs[name]
        inputs = self._input_grid(name, network.activations)
        original = torch.from_numpy(weight_of(self.prepared.nnet.components[name])).double()
        weight = (original * inputs.scale.double()).float()
        grid, integers = _round(weight, layer, statistics, inputs.scale)
        dequantized = grid.dequantize(integers).double() / inputs.scale.double()
        bias = torch.from_numpy(self.prepared.bias(name, dequantized.numpy()))
        if self.config.bias_correction:
            # The mean of what the float layer computes, less that of what this one would.
            float_bias = torch.from_numpy(self.prepared.bias(name, original.numpy()))
            bias = original @ float_mean + float_bias - dequantized @ statistics.mean
        return IntegerLinear.build(grid, integers, bias, inputs)


def _round(weight: Tensor, layer: LayerConfig, statistics: InputStatistics, scale: Tensor) -> tuple[Grid, Tensor]:
    """Grid and integers of a weight matrix. weight: (out, in) float32, for integer inputs."""
    spec = layer.weight_spec()
    if layer.method == "minmax":
        grid = minmax_grid(weight, spec)
        return grid, grid.quantize(weight)
    assert statistics.outer is not None
    hessian = statistics.outer / max(1, statistics.count) / torch.outer(scale.double(), scale.double())
    if layer.method == "mse":
        grid = mse_grid(weight, spec)
        return grid, grid.quantize(weight)
    grid = mse_grid(weight, spec, hessian.diagonal().float())
    return grid, gptq_round(weight, grid, hessian)


def _by_column(descriptor: Descriptor, of_node: Callable[[str], Tensor]) -> Tensor:
    """One value for each column of a descriptor, from the values of its nodes."""
    match descriptor:
        case NodeName(node):
            return of_node(node)
        case Append(parts):
            return torch.cat([_by_column(part, of_node) for part in parts])
        case Offset(source) | Round(source) | ReplaceIndex(source) | IfDefined(source):
            return _by_column(source, of_node)
        case Failover(parts) | Switch(parts):
            return _by_column(parts[0], of_node)
    raise ModelError(f"the input {descriptor} of a quantized layer is a sum; it needs a NoOpComponent of its own")
