"""Convolutions of bytes with channels last, and what becomes of their sums: floats, or bytes on a grid.

Which places of the input an output reads is given as numbers, so that any stride, dilation and padding is the same to
the kernels. Floats may go through a PReLU at once, and their sums be taken for a normalization behind that. The
operations and their order are those of ``quant.integer_linear`` and of torch's ``prelu``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np

from kaldi_quant.backends.kernels.dot import COLUMNS, ROWS_TOGETHER, lanes, product
from kaldi_quant.backends.kernels.norms import add_moments
from kaldi_quant.backends.kernels.products import requantize_sums

_ZERO = np.float32(0)


@numba.njit(error_model="numpy")
def _to_floats(
    sums: np.ndarray, bias: np.ndarray, scale: np.ndarray, slope: np.ndarray, out: np.ndarray, moments: np.ndarray
) -> None:
    """Sums of one place as floats; moments: as of ``add_moments``, or (2, 0) where they are not wanted."""
    for channel in range(out.shape[0]):
        value = np.float32(sums[channel] + bias[channel]) * scale[channel]
        out[channel] = value if value > _ZERO else slope[channel] * value
    if moments.shape[1]:
        add_moments(out, moments)


@numba.njit(error_model="numpy")
def _gather(x: np.ndarray, places: np.ndarray, zero: int, row: np.ndarray) -> None:
    """What one output reads, tap after tap; x: (input places, channels) uint8; row: (at least taps * channels,)."""
    channels = x.shape[1]
    for tap in range(places.shape[0]):
        place, begin = places[tap], tap * channels
        if place < 0:
            for channel in range(channels):
                row[begin + channel] = np.uint8(zero)
        else:
            for channel in range(channels):
                row[begin + channel] = x[place, channel]


@cache
def convolve_to_floats() -> Any:
    """A convolution whose channels read all channels.

    Returns:
        Called with the weights, as of ``dot.packed``, a row's columns being channels within taps; x, (N, input places,
        channels) uint8; the places that each output reads, (outputs, taps), -1 for padding; the input's zero point;
        bias, less what the zero point adds, (filled up,) int32; scale, (filled up,) float32; the slopes of a PReLU,
        (rows,) float32; the result that it writes, (N, outputs, rows) float32; and the sums that it adds to, (N, 2,
        rows) float64 (see ``add_moments``), or (N, 2, 0).
    """
    multiply, together = product(lanes(), ROWS_TOGETHER), ROWS_TOGETHER

    @numba.njit(error_model="numpy")
    def run(
        weights: np.ndarray,
        x: np.ndarray,
        places: np.ndarray,
        zero: int,
        bias: np.ndarray,
        scale: np.ndarray,
        slope: np.ndarray,
        out: np.ndarray,
        moments: np.ndarray,
    ) -> None:
        rows = np.zeros((together, weights.shape[1] * COLUMNS), np.uint8)
        sums = np.empty((together, bias.shape[0]), np.int32)
        for n in range(x.shape[0]):
            for first in range(0, places.shape[0], together):
                count = min(together, places.shape[0] - first)
                for i in range(count):
                    _gather(x[n], places[first + i], zero, rows[i])
                multiply(weights.ctypes.data, rows.ctypes.data, sums.ctypes.data, weights.shape[0], weights.shape[1])
                for i in range(count):
                    _to_floats(sums[i], bias, scale, slope, out[n, first + i], moments[n])

    return run


@cache
def convolve_to_bytes() -> Any:
    """A convolution whose channels read all channels, to a grid.

    Returns:
        Called as ``convolve_to_floats`` up to the scale, which is in steps of the grid; then with the zero point of the
        grid, its ends, and the result that it writes, (N, outputs, rows) uint8.
    """
    multiply, together = product(lanes(), ROWS_TOGETHER), ROWS_TOGETHER

    @numba.njit(error_model="numpy")
    def run(
        weights: np.ndarray,
        x: np.ndarray,
        places: np.ndarray,
        zero: int,
        bias: np.ndarray,
        multiplier: np.ndarray,
        zero_point: int,
        least: int,
        most: int,
        out: np.ndarray,
    ) -> None:
        rows = np.zeros((together, weights.shape[1] * COLUMNS), np.uint8)
        sums = np.empty((together, bias.shape[0]), np.int32)
        for n in range(x.shape[0]):
            for first in range(0, places.shape[0], together):
                count = min(together, places.shape[0] - first)
                for i in range(count):
                    _gather(x[n], places[first + i], zero, rows[i])
                multiply(weights.ctypes.data, rows.ctypes.data, sums.ctypes.data, weights.shape[0], weights.shape[1])
                for i in range(count):
                    requantize_sums(sums[i], bias, multiplier, zero_point, least, most, out[n, first + i])

    return run


@numba.njit(error_model="numpy")
def _depthwise_sums(weights: np.ndarray, x: np.ndarray, places: np.ndarray, zero: int, sums: np.ndarray) -> None:
    """The sums of one output; weights: (taps, channels) int32; x: (input places, channels) uint8."""
    sums[:] = 0
    for tap in range(places.shape[0]):
        weight, place = weights[tap], places[tap]
        if place < 0:
            for channel in range(sums.shape[0]):
                sums[channel] += weight[channel] * np.int32(zero)
        else:
            row = x[place]
            for channel in range(sums.shape[0]):
                sums[channel] += weight[channel] * np.int32(row[channel])


@numba.njit(error_model="numpy")
def depthwise_to_floats(
    weights: np.ndarray,
    x: np.ndarray,
    places: np.ndarray,
    zero: int,
    bias: np.ndarray,
    scale: np.ndarray,
    slope: np.ndarray,
    out: np.ndarray,
    moments: np.ndarray,
) -> None:
    """``convolve_to_floats``, where channels read one channel each; weights: (taps, channels) int32."""
    sums = np.empty(x.shape[2], np.int32)
    for n in range(x.shape[0]):
        for place in range(places.shape[0]):
            _depthwise_sums(weights, x[n], places[place], zero, sums)
            _to_floats(sums, bias, scale, slope, out[n, place], moments[n])


@numba.njit(error_model="numpy")
def depthwise_to_bytes(
    weights: np.ndarray,
    x: np.ndarray,
    places: np.ndarray,
    zero: int,
    bias: np.ndarray,
    multiplier: np.ndarray,
    zero_point: int,
    least: int,
    most: int,
    out: np.ndarray,
) -> None:
    """``convolve_to_bytes``, where channels read one channel each; weights: (taps, channels) int32."""
    sums = np.empty(x.shape[2], np.int32)
    for n in range(x.shape[0]):
        for place in range(places.shape[0]):
            _depthwise_sums(weights, x[n], places[place], zero, sums)
            requantize_sums(sums, bias, multiplier, zero_point, least, most, out[n, place])
