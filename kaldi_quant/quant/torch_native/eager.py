"""The route ``eager``: ``torch.ao.quantization`` on modules that stand in for a network's products.

``prepare`` puts observers on them, the calibration set runs, and ``convert`` or ``quantize_dynamic`` makes them
PyTorch's quantized modules, from which integers and scales are read.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.ao import quantization as ao
from torch.ao.nn import intrinsic
from torch.ao.nn import quantized as converted
from torch.ao.nn.intrinsic import quantized as converted_intrinsic

from kaldi_quant.nnet.components.affine import Affine, Tdnn
from kaldi_quant.nnet.components.convolution import TimeHeightConvolution
from kaldi_quant.nnet.model import AcousticModel
from kaldi_quant.quant.calibration import CalibrationSet
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_graph import IntegerGraph
from kaldi_quant.quant.integer_linear import InputGrid
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.ranges import Ranges
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.quant.torch_native.observed import (
    activation_observer,
    observed_grid,
    observed_weight,
    weight_observer,
)
from kaldi_quant.quant.torch_native.plan import Plan

# The products' own classes alone: a network input has a scale per column, which a converted QuantStub cannot have.
_CONVERTED = {nn.Linear: converted.Linear, intrinsic.LinearReLU: converted_intrinsic.LinearReLU}


def quantize_eager(plan: Plan, data: CalibrationSet, ranges: Ranges | None = None) -> QuantizedNetwork:
    """Quantizes a network.

    Args:
        plan: what is to be done.
        data: the calibration set.
        ranges: of activations; by default the observers find them.

    Raises:
        DataError: the calibration set cannot be used.
    """
    graph = plan.graph()
    standins = _Standins(plan, graph)
    grids = standins.observe(data) if ranges is None else plan.grids_over(graph, ranges)
    inputs = plan.inputs_of(graph, grids)
    return plan.network(standins.convert(inputs), grids, inputs)


def observe_eager(plan: Plan, data: CalibrationSet) -> dict[str, Grid]:
    """The grid of each node that lies on one, from the calibration set."""
    return _Standins(plan, plan.graph()).observe(data)


class _Standin(nn.Module):
    """A layer's product as PyTorch would write it, with the ReLU that follows it.

    Args:
        weight: (out, in) float32.
        bias: (out,) float32.
        relu: whether there is one.
        qconfig: PyTorch's observers for it.
    """

    def __init__(self, weight: Tensor, bias: Tensor, relu: bool, qconfig: ao.QConfig) -> None:
        super().__init__()
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight, linear.bias = nn.Parameter(weight), nn.Parameter(bias)
        product: Any = intrinsic.LinearReLU(linear, nn.ReLU()) if relu else linear
        product.qconfig = qconfig
        self.linear: Any = product

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: (..., in) → (..., out)."""
        return self.linear(x)

    def set_weight(self, weight: Tensor) -> None:
        """Changes the weight, (out, in), before it is converted."""
        linear = self.linear[0] if isinstance(self.linear, intrinsic.LinearReLU) else self.linear
        linear.weight = nn.Parameter(weight)


class _Standins:
    """The modules that PyTorch quantizes: one for each layer, and a stub for each other node that lies on a grid."""

    def __init__(self, plan: Plan, graph: IntegerGraph) -> None:
        self.plan, self.graph = plan, graph
        self.specs = {name: plan.activation_spec(graph, group) for group in graph.groups() for name in group}
        ends = {name: graph.destination(name) for name in plan.static}
        #: For each node that a layer's result is rounded to, the layer.
        self.layer_at = {end.node: name for name, end in ends.items() if end and end.node in self.specs}
        self.layers = nn.ModuleList()
        for name in plan.layers:
            end = ends.get(name)
            fused = end is not None and end.relu and end.node in self.specs
            qconfig = self._qconfig(name, end.node if end and end.node in self.specs else None)
            self.layers.append(_Standin(plan.weight(name, None), plan.bias(name), fused, qconfig))
        self.stub_of = {name: i for i, name in enumerate(set(self.specs) - set(self.layer_at))}
        self.stubs = nn.ModuleList([self._stub(name) for name in self.stub_of])

    def _qconfig(self, layer: str, node: str | None) -> ao.QConfig:
        # Of a result that lies on no grid, conversion wants the range all the same.
        spec = self.specs[node] if node is not None else QSpec(8, signed=False)
        observer = activation_observer(ao.observer, self.plan.config.observer, spec)
        if layer in self.plan.dynamic:
            observer = ao.PlaceholderObserver.with_args(dtype=torch.quint8, is_dynamic=True)
        return ao.QConfig(activation=observer, weight=weight_observer(ao.observer, self.plan.layers[layer]))

    def _stub(self, name: str) -> ao.QuantStub:
        observer = activation_observer(ao.observer, self.plan.config.observer, self.specs[name])
        return ao.QuantStub(ao.QConfig(activation=observer, weight=ao.default_weight_observer))

    def _model(self) -> AcousticModel:
        """The float network with these modules in it."""
        model = AcousticModel(self.plan.prepared.float_nnet())
        for name, standin in zip(self.plan.layers, self.layers, strict=True):
            module = model.component(name)
            assert isinstance(module, Affine | Tdnn | TimeHeightConvolution)
            module.product = standin
        model.taps.update({name: self.stubs[i] for name, i in self.stub_of.items()})
        return model

    def observe(self, data: CalibrationSet) -> dict[str, Grid]:
        """Runs the calibration set; the grids of all nodes."""
        self._prepare()
        observers: dict[str, Any] = {}
        for group in self.graph.groups():
            for name in group:
                module = self._observed(name)
                # Nodes that a layer reads side by side share their grid.
                module.activation_post_process = self._observed(group[0]).activation_post_process
                observers[name] = module.activation_post_process
        if observers:
            data.run(self._model())
        return {name: observed_grid(observer, self.specs[name]) for name, observer in observers.items()}

    def _prepare(self) -> None:
        for name, standin in zip(self.plan.layers, self.layers, strict=True):
            if name not in self.plan.dynamic:
                ao.prepare(standin.eval(), inplace=True)
        for stub in self.stubs:
            ao.prepare(stub.eval(), inplace=True)

    def _observed(self, node: str) -> Any:
        if node in self.layer_at:
            return self.layers[list(self.plan.layers).index(self.layer_at[node])].linear
        return self.stubs[self.stub_of[node]]

    def convert(self, inputs: dict[str, InputGrid]) -> dict[str, QuantizedWeight]:
        """Lets PyTorch quantize the weights.

        Args:
            inputs: the grids of the layers whose ranges are known.
        """
        weights = {}
        for (name, layer), standin in zip(self.plan.layers.items(), self.layers, strict=True):
            assert isinstance(standin, _Standin)
            standin.set_weight(self.plan.weight(name, inputs.get(name)))
            if name in inputs:
                if not hasattr(standin.linear, "activation_post_process"):
                    ao.prepare(standin.eval(), inplace=True)
                ao.convert(standin, mapping=_CONVERTED, inplace=True)
            else:
                ao.quantize_dynamic(standin, {nn.Linear: standin.linear.qconfig}, inplace=True)
            weights[name] = observed_weight(standin.linear.weight(), layer)
        return weights
