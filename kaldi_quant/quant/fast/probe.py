"""Small random networks of integers that provoke what integer kernels get wrong: saturation, rounding, edges."""

from __future__ import annotations

import numpy as np
import torch

from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import InputGrid, IntegerLinear
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.spec import QSpec

_WIDEST_BIAS = 2**20


def random_layer(
    random: np.random.Generator, rows: int, grid: Grid, columns: int, bits: int = 8, symmetric: bool = True
) -> IntegerLinear:
    """A layer with rows of extreme weights, of zeros and of random ones.

    Args:
        random: the source of randomness.
        rows: output columns.
        grid: of every input column.
        columns: input columns.
        bits: width of the weights.
        symmetric: whether their zero point is zero.
    """
    spec = QSpec(bits, signed=True, symmetric=symmetric, per_channel=symmetric)
    weight = random.integers(spec.qmin, spec.qmax + 1, (rows, columns))
    extreme = [np.full(columns, spec.qmax), np.full(columns, spec.qmin), np.zeros(columns)]
    extreme.append(np.where(np.arange(columns) % 4 < 2, spec.qmax, spec.qmin))
    for row in random.permutation(rows)[: rows // 2]:
        weight[row] = extreme[int(random.integers(len(extreme)))]
    zero_point = 0 if symmetric else int(random.integers(spec.qmin, spec.qmax + 1))
    scale = random.uniform(0.5, 2.0, rows if symmetric else 1) / (spec.qmax * np.sqrt(columns))
    quantized = QuantizedWeight(
        spec,
        torch.from_numpy(weight).int(),
        torch.from_numpy(scale).float().expand(rows).unsqueeze(1).contiguous(),
        torch.full((rows, 1), zero_point, dtype=torch.int32),
    )
    inputs = InputGrid(
        grid.scale.expand(columns).contiguous(),
        grid.zero_point.expand(columns).contiguous(),
        grid.spec.qmin,
        grid.spec.qmax,
        per_column=False,
    )
    bias = torch.from_numpy(random.integers(-_WIDEST_BIAS, _WIDEST_BIAS, rows)).int()
    return IntegerLinear(quantized, bias, inputs)


def random_grid(random: np.random.Generator, bits: int = 8, zero_point: int | None = None, scale: float = 0.05) -> Grid:
    """A grid of unsigned integers; a random zero point where none is given."""
    if zero_point is None:
        zero_point = int(random.integers(0, 2**bits))
    value = torch.tensor(scale * random.uniform(0.5, 2.0), dtype=torch.float32)
    return Grid(QSpec(bits, signed=False, symmetric=False), value, torch.tensor(zero_point, dtype=torch.int32))


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
    return QuantizedNetwork(nnet, dict(layers), grids, {})


def _affine(rows: int, columns: int) -> Component:
    fields = [("LinearParams", np.zeros((rows, columns), np.float32)), ("BiasParams", np.zeros(rows, np.float32))]
    return Component("FixedAffineComponent", fields)


def extreme_features(random: np.random.Generator, grid: Grid, shape: tuple[int, ...]) -> torch.Tensor:
    """Random features with many at either end of a grid and beyond; shape: of the result, float32."""
    integers = random.integers(grid.spec.qmin, grid.spec.qmax + 1, shape)
    ends = random.choice([grid.spec.qmin - 100, grid.spec.qmax + 100], shape)
    integers = np.where(random.random(shape) < 0.5, ends, integers)
    return (torch.from_numpy(integers) - grid.zero_point).float() * grid.scale
