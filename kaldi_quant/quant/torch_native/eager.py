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

from kaldi_quant.quant.calibration import CalibrationSet
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_graph import IntegerGraph
from kaldi_quant.quant.integer_linear import InputGrid
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.ranges import Ranges
from kaldi_quant.quant.torch_native.observed import (
    activation_observer,
    observed_grid,
    observed_weight,
    weight_observer,
)
from kaldi_quant.quant.torch_native.plan import Plan
from kaldi_quant.quant.torch_native.standins import Standins, with_modules

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
    standins = _standins(plan, graph)
    grids = _observe(standins, data) if ranges is None else plan.grids_over(graph, ranges)
    inputs = plan.inputs_of(graph, grids)
    return plan.network(_convert(standins, inputs), grids, inputs)


def _standins(plan: Plan, graph: IntegerGraph) -> Standins:
    activation = partial(activation_observer, ao.observer, plan.config.observer)
    return Standins(plan, graph, activation, partial(weight_observer, ao.observer))


def _prepare(module: nn.Module, inplace: bool) -> Any:
    return ao.prepare(module.eval(), inplace=inplace)


def _observe(standins: Standins, data: CalibrationSet) -> dict[str, Grid]:
    """Runs the calibration set; the grids of all nodes."""
    observers = standins.prepare(_prepare)
    if observers:
        model = with_modules(standins.plan.prepared.float_nnet(), standins.layers, standins.stubs)
        data.run(model, "finding activation ranges")
    return {name: observed_grid(observer, standins.specs[name]) for name, observer in observers.items()}


def _convert(standins: Standins, inputs: dict[str, InputGrid]) -> dict[str, QuantizedWeight]:
    """Lets PyTorch quantize the weights.

    Args:
        standins: of the network.
        inputs: the grids of the layers whose ranges are known.
    """
    plan, weights = standins.plan, {}
    for name, standin in standins.layers.items():
        standin.set_weight(plan.weight(name, inputs.get(name)))
        if name in inputs:
            if not hasattr(standin.linear, "activation_post_process"):
                _prepare(standin, inplace=True)
            ao.convert(standin, mapping=_CONVERTED, inplace=True)
        else:
            ao.quantize_dynamic(standin, {nn.Linear: standin.linear.qconfig}, inplace=True)
        weights[name] = observed_weight(standin.linear.weight(), plan.layers[name])
    return weights
