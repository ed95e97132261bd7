"""Whether an engine's products are right on this machine: extreme weights and inputs, against the integer reference.

Processors without products of 8-bit integers (VNNI) add two of them in saturating 16-bit registers.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from kaldi_quant.backends.probe import extreme_features, random_grid, random_layer
from kaldi_quant.backends.torch_engines.engines import Engine, engine_in_use
from kaldi_quant.backends.torch_engines.products import StaticProduct
from kaldi_quant.backends.torch_engines.silence import without_notes
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import IntegerLinear
from kaldi_quant.units import Bits

# (rows, columns) of weights: some that fill the kernels' registers, and some that do not.
_SHAPES = ((64, 128), (7, 39), (130, 65))
_FRAMES = 50
# Kernels add the bias in float, and may round a tie the other way: no more than one step.
_STEPS = 1
# A float result has float32's precision of the accumulator, which is far below a step of any product that overflows.
_RELATIVE = 1e-5


@cache
def is_exact(engine: Engine, act_bits: Bits) -> bool:
    """Whether an engine's products of activations of a width are those of the integer reference."""
    random = np.random.default_rng(0)
    with without_notes(), engine_in_use(engine), torch.inference_mode():
        return all(_agrees(random, engine, act_bits, *shape) for shape in _SHAPES)


def _agrees(random: np.random.Generator, engine: Engine, act_bits: Bits, rows: int, columns: int) -> bool:
    grid = random_grid(random, act_bits)
    layer = random_layer(random, rows, grid, columns)
    x = grid.fake(extreme_features(random, grid, (2, _FRAMES, columns)))
    expected = layer.forward(x)
    size = float(expected.abs().max())
    output = Grid.from_range(random_grid(random, act_bits).spec, expected.min(), expected.max())
    steps = output.round_steps(layer.steps(x, output))
    got = StaticProduct(layer, engine, output, relu=False)(x)
    return bool(
        ((_float(layer, engine, x) - expected).abs().max() <= _RELATIVE * size)
        and (got - output.quantize(steps)).abs().max() <= _STEPS
    )


def _float(layer: IntegerLinear, engine: Engine, x: torch.Tensor) -> torch.Tensor:
    return StaticProduct(layer, engine, None, relu=False)(x)
