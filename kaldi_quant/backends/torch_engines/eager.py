"""The route ``eager``: ``torch.ao.quantization`` on modules that stand in for a network's products.

There is one for each layer, and a stub for each other node that lies on a grid. ``prepare`` puts observers on them,
the calibration set runs, and ``convert`` or ``quantize_dynamic`` makes them PyTorch's quantized modules, from which
integers and scales are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.ao import quantization as ao
from torch.ao.nn import intrinsic
from torch.ao.nn import quantized as converted
from torch.ao.nn.intrinsic import quantized as converted_intrinsic

from kaldi_quant.backends.torch_engines.observers import (
    Prepared,
    activation_fake_quantize,
    activation_observer,
    observed_grid,
    observed_weight,
    weight_fake_quantize,
    weight_observer,
)
from kaldi_quant.backends.torch_engines.plan import Plan
from kaldi_quant.backends.torch_engines.routes import ROUTES, Route
from kaldi_quant.quant.graph import QuantGraph
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.host import Data, Executable, Host
from kaldi_quant.quant.integer_linear import InputGrid, IntegerLinear
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.ranges import Ranges
from kaldi_quant.quant.slots import set_product
from kaldi_quant.quant.spec import QSpec


class QuantWrapper(nn.Module):
    """A layer's product as PyTorch would write it, with the ReLU that follows it.

    Args:
        weight: (out, in) float32.
        bias: (out,) float32.
        relu: whether there is one.
        qconfig: what PyTorch puts beside it.
        folded: (in,) float32, the scales of the input's columns that are multiplied into the weight; None for none.
    """

    folded: Tensor | None

    def __init__(
        self, weight: Tensor, bias: Tensor, relu: bool, qconfig: ao.QConfig, folded: Tensor | None = None
    ) -> None:
        super().__init__()
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight, linear.bias = nn.Parameter(weight), nn.Parameter(bias)
        product: Any = intrinsic.LinearReLU(linear, nn.ReLU()) if relu else linear
        product.qconfig = qconfig
        self.linear: Any = product
        self.register_buffer("folded", folded)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: (..., in) → (..., out)."""
        result: Tensor = self.linear(x if self.folded is None else x / self.folded)
        return result

    def set_weight(self, weight: Tensor) -> None:
        """Changes the weight, (out, in), before it is converted."""
        linear = self.linear[0] if isinstance(self.linear, intrinsic.LinearReLU) else self.linear
        linear.weight = nn.Parameter(weight)


def with_modules(host: Host, products: Mapping[str, nn.Module], taps: Mapping[str, nn.Module]) -> Executable:
    """A float network with modules in the place of layers' products, and others at nodes."""
    model = host.executable()
    for name, product in products.items():
        set_product(model, name, product)
    model.taps.update(taps)
    return model


class QuantWrappers:
    """The modules of a network.

    Args:
        plan: what is to be done.
        graph: of the plan.
        activation: makes what PyTorch puts where values lie on a grid, by its width.
        weight: makes what it puts beside weights, by their layer's configuration.
        inputs: the grids of layers' columns whose scales are multiplied into the weights at once.
    """

    def __init__(
        self,
        plan: Plan,
        graph: QuantGraph,
        activation: Callable[[QSpec], Any],
        weight: Callable[[LayerConfig], Any],
        inputs: Mapping[str, InputGrid] | None = None,
    ) -> None:
        self.plan, self.graph, self.activation, self.weight = plan, graph, activation, weight
        self.specs = {name: plan.activation_spec(graph, group) for group in graph.groups() for name in group}
        ends = {name: graph.destination(name) for name in plan.static}
        #: For each node that a layer's result is rounded to, the layer.
        self.layer_at = {end.node: name for name, end in ends.items() if end and end.node in self.specs}
        self.layers: dict[str, QuantWrapper] = {}
        for name in plan.layers:
            end, grid = ends.get(name), (inputs or {}).get(name)
            fused = end is not None and end.relu and end.node in self.specs
            qconfig = self._qconfig(name, end.node if end and end.node in self.specs else None)
            folded = grid.folded.float() if grid is not None and grid.per_column else None
            self.layers[name] = QuantWrapper(plan.weight(name, grid), plan.bias(name), fused, qconfig, folded)
        stubs = [name for name in self.specs if name not in self.layer_at]
        self.stubs = {name: ao.QuantStub(self._stub_qconfig(name)) for name in stubs}

    def _qconfig(self, layer: str, node: str | None) -> ao.QConfig:
        if layer in self.plan.dynamic:
            activation = ao.PlaceholderObserver.with_args(dtype=torch.quint8, is_dynamic=True)
        else:
            # Of a result that lies on no grid, conversion wants the range all the same.
            activation = self.activation(self.specs[node] if node is not None else QSpec(8, signed=False))
        return ao.QConfig(activation=activation, weight=self.weight(self.plan.layers[layer]))

    def _stub_qconfig(self, node: str) -> ao.QConfig:
        return ao.QConfig(activation=self.activation(self.specs[node]), weight=ao.default_weight_observer)

    def prepare(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Lets PyTorch prepare the modules; nodes that a layer reads side by side share what it puts there.

        Args:
            function: ``torch.ao.quantization.prepare`` or ``prepare_qat``.

        Returns:
            for each node that lies on a grid, what was put there.
        """
        for name, wrapper in self.layers.items():
            if name not in self.plan.dynamic:
                function(wrapper, inplace=True)
        for stub in self.stubs.values():
            function(stub, inplace=True)
        found: dict[str, Any] = {}
        for group in self.graph.groups():
            for name in group:
                self._at(name).activation_post_process = self._at(group[0]).activation_post_process
                found[name] = self._at(name).activation_post_process
        return found

    def _at(self, node: str) -> Any:
        return self.layers[self.layer_at[node]].linear if node in self.layer_at else self.stubs[node]


# The products' own classes alone: a network input has a scale per column, which a converted QuantStub cannot have.
_CONVERTED = {nn.Linear: converted.Linear, intrinsic.LinearReLU: converted_intrinsic.LinearReLU}


def quantize_eager(plan: Plan, data: Data, ranges: Ranges | None = None) -> QuantizedNetwork:
    """Quantizes a network.

    Args:
        plan: what is to be done.
        data: the calibration set.
        ranges: of activations; by default the observers find them.

    Raises:
        DataError: the calibration set cannot be used.
    """
    graph = plan.graph()
    wrappers = _wrappers(plan, graph)
    grids = _observe(wrappers, data) if ranges is None else plan.grids_over(graph, ranges)
    inputs = plan.inputs_of(graph, grids)
    return plan.network(_convert(wrappers, inputs), grids, inputs)


def _wrappers(plan: Plan, graph: QuantGraph) -> QuantWrappers:
    activation = partial(activation_observer, ao.observer, plan.config.observer)
    return QuantWrappers(plan, graph, activation, partial(weight_observer, ao.observer))


def _prepare(module: nn.Module, inplace: bool) -> Any:
    return ao.prepare(module.eval(), inplace=inplace)


def _observe(wrappers: QuantWrappers, data: Data) -> dict[str, Grid]:
    """Runs the calibration set; the grids of all nodes."""
    observers = wrappers.prepare(_prepare)
    if observers:
        model = with_modules(wrappers.plan.prepared.complete(), wrappers.layers, wrappers.stubs)
        data.run(model, "finding activation ranges")
    return {name: observed_grid(observer, wrappers.specs[name]) for name, observer in observers.items()}


def _convert(wrappers: QuantWrappers, inputs: dict[str, InputGrid]) -> dict[str, QuantizedWeight]:
    """Lets PyTorch quantize the weights.

    Args:
        wrappers: of the network.
        inputs: the grids of the layers whose ranges are known.
    """
    plan, weights = wrappers.plan, {}
    for name, wrapper in wrappers.layers.items():
        wrapper.set_weight(plan.weight(name, inputs.get(name)))
        if name in inputs:
            if not hasattr(wrapper.linear, "activation_post_process"):
                _prepare(wrapper, inplace=True)
            ao.convert(wrapper, mapping=_CONVERTED, inplace=True)
        else:
            ao.quantize_dynamic(wrapper, {nn.Linear: wrapper.linear.qconfig}, inplace=True)
        weights[name] = observed_weight(wrapper.linear.weight(), plan.layers[name])
    return weights


def prepare_eager(plan: Plan, start: QuantizedNetwork) -> Prepared:
    """Puts PyTorch's fake quantization into a network; ``plan``: all ranges known beforehand."""
    inputs = {name: layer.inputs for name, layer in start.layers.items() if isinstance(layer, IntegerLinear)}
    makers = (partial(activation_fake_quantize, ao), partial(weight_fake_quantize, ao))
    wrappers = QuantWrappers(plan, start.graph, *makers, inputs)
    activations = wrappers.prepare(ao.prepare_qat)
    linears = {name: wrapper.linear for name, wrapper in wrappers.layers.items()}
    on_grids = {id(fake) for fake in activations.values()}
    for linear in linears.values():
        if id(linear.activation_post_process) not in on_grids:
            # A result that is wanted in float lies on no grid.
            linear.activation_post_process = nn.Identity()
    weights = {name: linear.weight_fake_quant for name, linear in linears.items()}
    return Prepared(dict(wrappers.layers), linears, weights, dict(wrappers.stubs), activations)


ROUTES.add("eager")(Route(quantize_eager, prepare_eager))
