"""The route ``eager``: ``torch.ao.quantization`` on modules that stand in for a network's products.

``prepare`` puts observers on them, the calibration set runs, and ``convert`` or ``quantize_dynamic`` makes them
PyTorch's quantized modules, from which integers and scales are read.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn
from torch.ao import quantization as ao
from torch.ao.nn import intrinsic
from torch.ao.nn import quantized as converted
from torch.ao.nn.intrinsic import quantized as converted_intrinsic

from kaldi_quant.backends.torch_engines.fake_quantize import Prepared, activation_fake_quantize, weight_fake_quantize
from kaldi_quant.backends.torch_engines.observed import (
    activation_observer,
    observed_grid,
    observed_weight,
    weight_observer,
)
from kaldi_quant.backends.torch_engines.plan import Plan
from kaldi_quant.backends.torch_engines.routes import ROUTES, Route
from kaldi_quant.backends.torch_engines.wrappers import QuantWrappers, with_modules
from kaldi_quant.quant.graph import QuantGraph
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.host import Data
from kaldi_quant.quant.integer_linear import InputGrid, IntegerLinear
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.ranges import Ranges

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
