"""A small random network of integers that provokes what integer kernels get wrong."""

from __future__ import annotations

import numpy as np

from kaldi_quant.backends.probe import random_grid, random_layer
from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.preparation.prepared import PreparedNetwork
from kaldi_quant.quant.network import QuantizedNetwork


def random_network(
    random: np.random.Generator, input_dim: int, dim: int, output_dim: int, input_bits: int = 8
) -> QuantizedNetwork:
    """Three layers: one splices with a ReLU, one splices every third frame, a sum bypasses it; one gives floats."""
    lines = [
        f"input-node name=input dim={input_dim}",
        "component-node name=a component=a input=Append(Offset(input, -1), input, Offset(input, 1))",
        "component-node name=a.relu component=a.relu input=a",
        "component-node name=b component=b input=Append(Offset(a.relu, -3), a.relu)",
        "component-node name=b.relu component=b.relu input=b",
        "component-node name=sum component=sum input=Sum(Scale(0.66, a.relu), b.relu)",
        "component-node name=c component=c input=sum",
        "output-node name=output input=c",
    ]
    shapes = {"a": (dim, 3 * input_dim), "b": (dim, 2 * dim), "c": (output_dim, dim)}
    components = {name: _affine(*shape) for name, shape in shapes.items()}
    components |= {name: Component("RectifiedLinearComponent", [("Dim", dim)]) for name in ("a.relu", "b.relu")}
    components["sum"] = Component("NoOpComponent", [("Dim", dim)])
    grids = {"input": random_grid(random, input_bits), "sum": random_grid(random, zero_point=0, scale=0.1)}
    grids |= {name: random_grid(random, zero_point=0, scale=0.1) for name in ("a.relu", "b.relu")}
    layers = {
        name: random_layer(random, shapes[name][0], grids[source], shapes[name][1])
        for name, source in (("a", "input"), ("b", "a.relu"), ("c", "sum"))
    }
    nnet = Nnet.of_lines(lines, components, "random network")
    return QuantizedNetwork(PreparedNetwork.of(nnet), dict(layers), grids, {})


def _affine(rows: int, columns: int) -> Component:
    fields = [("LinearParams", np.zeros((rows, columns), np.float32)), ("BiasParams", np.zeros(rows, np.float32))]
    return Component("FixedAffineComponent", fields)
