"""Products computed in integers place by place, from their definitions; nothing of the package does it."""

from __future__ import annotations

import itertools

import numpy as np

from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import IntegerLinear

Sizes = tuple[int, ...]


def integers_of(x: np.ndarray, grid: Grid) -> np.ndarray:
    """The integers of values on a grid, less its zero point."""
    scale, zero_point = np.float32(grid.scale.item()), int(grid.zero_point)
    steps = np.rint(x.astype(np.float32) / scale) + zero_point
    return np.clip(steps, grid.spec.qmin, grid.spec.qmax).astype(np.int64) - zero_point


def linear(layer: IntegerLinear, x: np.ndarray) -> np.ndarray:
    """Accumulators (..., out) of integers (..., in)."""
    weight, bias = layer.weight.centred.numpy().astype(np.int64), layer.bias.numpy().astype(np.int64)
    sums = np.zeros((*x.shape[:-1], len(weight)), np.int64)
    for place in np.ndindex(*x.shape[:-1]):
        for row in range(len(weight)):
            sums[(*place, row)] = bias[row] + sum(int(w) * int(v) for w, v in zip(weight[row], x[place], strict=True))
    return sums


def matmul(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Accumulators (..., rows, columns) of integers (..., rows, inner) and (..., inner, columns)."""
    lead = np.broadcast_shapes(one.shape[:-2], other.shape[:-2])
    one, other = (np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (one, other))
    sums = np.zeros((*lead, one.shape[-2], other.shape[-1]), np.int64)
    for *place, row, column in np.ndindex(*sums.shape):
        pairs = zip(one[(*place, row)], other[(*place, slice(None), column)], strict=True)
        sums[(*place, row, column)] = sum(int(a) * int(b) for a, b in pairs)
    return sums


def product_on_grid(sums: np.ndarray, one: Grid, other: Grid, grid: Grid) -> np.ndarray:
    """Integers, less the zero point, of accumulators of two values that go straight to a grid."""
    multiplier = np.float32(one.scale.item()) * np.float32(other.scale.item()) / np.float32(grid.scale.item())
    steps = np.rint(sums.astype(np.float32) * multiplier) + int(grid.zero_point)
    return np.clip(steps, grid.spec.qmin, grid.spec.qmax).astype(np.int64) - int(grid.zero_point)


def convolution(
    layer: IntegerLinear,
    x: np.ndarray,
    kernel: Sizes,
    stride: Sizes,
    before: Sizes,
    after: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """Accumulators (N, out, *places) of integers (N, channels, *places)."""
    rows = layer.weight.centred.numpy().astype(np.int64).reshape(-1, x.shape[1] // groups, *kernel)
    bias = layer.bias.numpy().astype(np.int64)
    sizes = x.shape[2:]
    lengths = tuple(
        (n + b + a - d * (k - 1) - 1) // s + 1
        for n, b, a, d, k, s in zip(sizes, before, after, dilation, kernel, stride, strict=True)
    )
    sums = np.zeros((len(x), len(rows), *lengths), np.int64)
    of_group = len(rows) // groups
    for n, out in np.ndindex(len(x), len(rows)):
        first = out // of_group * rows.shape[1]
        for place in np.ndindex(*lengths):
            total = int(bias[out])
            for channel, *taps in np.ndindex(*rows.shape[1:]):
                at = tuple(
                    p * s + t * d - b for p, s, t, d, b in zip(place, stride, taps, dilation, before, strict=True)
                )
                if all(0 <= a < size for a, size in zip(at, sizes, strict=True)):
                    total += int(rows[(out, channel, *taps)]) * int(x[(n, first + channel, *at)])
            sums[(n, out, *place)] = total
    return sums


def transposed(
    layer: IntegerLinear,
    x: np.ndarray,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    more: Sizes,
    dilation: Sizes,
    groups: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Accumulators (N, out, *places), and for each the row of the weight that it is of: input places are spread out."""
    taps = tuple((k - 1) * d // s + 1 for k, d, s in zip(kernel, dilation, stride, strict=True))
    channels = x.shape[1] // groups
    rows = layer.weight.centred.numpy().astype(np.int64).reshape(-1, *stride, channels, *taps)
    bias = layer.bias.numpy().astype(np.int64).reshape(-1, *stride)
    numbers = np.arange(bias.size).reshape(bias.shape)
    lengths = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + m + 1
        for n, s, p, d, k, m in zip(x.shape[2:], stride, padding, dilation, kernel, more, strict=True)
    )
    sums = np.zeros((len(x), len(rows), *lengths), np.int64)
    row_of = np.zeros(sums.shape, np.int64)
    for n, out in np.ndindex(*sums.shape[:2]):
        for place in np.ndindex(*lengths):
            phase = tuple((a + p) % s for a, p, s in zip(place, padding, stride, strict=True))
            sums[(n, out, *place)] = bias[(out, *phase)]
            row_of[(n, out, *place)] = numbers[(out, *phase)]
        group = out // (len(rows) // groups)
        for channel in range(channels):
            for source in np.ndindex(*x.shape[2:]):
                for ks in itertools.product(*map(range, kernel)):
                    spread = [k * d for k, d in zip(ks, dilation, strict=True)]
                    at = tuple(a * s + k - p for a, s, k, p in zip(source, stride, spread, padding, strict=True))
                    if all(0 <= a < length for a, length in zip(at, lengths, strict=True)):
                        phase = tuple(k % s for k, s in zip(spread, stride, strict=True))
                        tap = tuple(t - 1 - k // s for k, s, t in zip(spread, stride, taps, strict=True))
                        value = int(x[(n, group * channels + channel, *source)])
                        sums[(n, out, *at)] += int(rows[(out, *phase, channel, *tap)]) * value
    return sums, row_of


def as_floats(layer: IntegerLinear, sums: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float32 values of accumulators; rows: of the weight, for each accumulator."""
    scale = (layer.inputs.common_scale * layer.weight.scale[:, 0]).numpy().astype(np.float32)
    return sums.astype(np.float32) * scale[rows]


def on_grid(layer: IntegerLinear, sums: np.ndarray, rows: np.ndarray, grid: Grid) -> np.ndarray:
    """Integers, less the zero point, of accumulators that go straight to a grid."""
    scale = (layer.inputs.common_scale * layer.weight.scale[:, 0]).numpy().astype(np.float32)
    multiplier = scale / np.float32(grid.scale.item())
    steps = np.rint(sums.astype(np.float32) * multiplier[rows]) + int(grid.zero_point)
    return np.clip(steps, grid.spec.qmin, grid.spec.qmax).astype(np.int64) - int(grid.zero_point)
