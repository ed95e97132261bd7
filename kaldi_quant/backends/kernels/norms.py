"""Normalizations over groups of channels and all places, with channels last; defined by ``torchnn.rounded_once``."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(error_model="numpy")
def add_moments(x: np.ndarray, moments: np.ndarray) -> None:
    """Adds values to the sums of their channels, and their squares to those of squares.

    Args:
        x: (channels,) float32.
        moments: (2, channels) float64.
    """
    total, squares = moments[0], moments[1]
    for channel in range(x.shape[0]):
        value = np.float64(x[channel])
        total[channel] += value
        squares[channel] += value * value


@numba.njit(error_model="numpy")
def moments_of(x: np.ndarray, moments: np.ndarray) -> None:
    """``add_moments`` of all places; x: (N, places, channels) float32; moments: (N, 2, channels) float64."""
    for n in range(x.shape[0]):
        for place in range(x.shape[1]):
            add_moments(x[n, place], moments[n])


@numba.njit(error_model="numpy")
def factors_of(
    moments: np.ndarray,
    places: int,
    groups: int,
    epsilon: float,
    weight: np.ndarray,
    bias: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
) -> None:
    """What values are multiplied by, and what is added then.

    Args:
        moments: (N, 2, channels) float64, of all places.
        places: how many there are.
        groups: of channels.
        epsilon: is added to variances.
        weight: (channels,) float32.
        bias: (channels,) float32.
        scale: (N, channels) float32, which it writes.
        shift: (N, channels) float32, likewise.
    """
    together = moments.shape[2] // groups
    for n in range(moments.shape[0]):
        for group in range(groups):
            begin = group * together
            total, squares = 0.0, 0.0
            for channel in range(begin, begin + together):
                total += moments[n, 0, channel]
                squares += moments[n, 1, channel]
            mean = total / (together * places)
            variance = max(squares / (together * places) - mean * mean, 0.0)
            deviation = np.sqrt(variance + epsilon)
            for channel in range(begin, begin + together):
                factor = np.float64(weight[channel]) / deviation
                scale[n, channel] = np.float32(factor)
                shift[n, channel] = np.float32(np.float64(bias[channel]) - mean * factor)


@numba.njit(error_model="numpy")
def shift_and_quantize(
    x: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    scale_of_grid: float,
    zero_point: int,
    least: int,
    most: int,
    out: np.ndarray,
) -> None:
    """Scaled and shifted values as bytes.

    Args:
        x: (N, places, channels) float32.
        scale: (N, channels) float32.
        shift: (N, channels) float32.
        scale_of_grid: what values are divided by.
        zero_point: of the grid.
        least: of the grid.
        most: of the grid.
        out: (N, places, channels) uint8.
    """
    step, zero, low, high = np.float32(scale_of_grid), np.float32(zero_point), np.float32(least), np.float32(most)
    for n in range(x.shape[0]):
        factors, shifts = scale[n], shift[n]
        for place in range(x.shape[1]):
            row, result = x[n, place], out[n, place]
            for channel in range(row.shape[0]):
                value = row[channel] * factors[channel] + shifts[channel]
                result[channel] = np.uint8(np.int32(min(max(np.rint(value / step) + zero, low), high)))


@numba.njit(error_model="numpy")
def shifted(x: np.ndarray, scale: np.ndarray, shift: np.ndarray, out: np.ndarray) -> None:
    """Scaled and shifted values; x, out: (N, places, channels) float32; scale, shift: (N, channels) float32."""
    for n in range(x.shape[0]):
        for place in range(x.shape[1]):
            for channel in range(x.shape[2]):
                out[n, place, channel] = x[n, place, channel] * scale[n, channel] + shift[n, channel]
