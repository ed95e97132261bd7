"""The bands of hearing that P.862 divides spectra into, and what is heard in each.

The rates differ in where they end: 8 kHz have 42 bands, 16 kHz have 49 of which the first 41 are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from kaldi_quant.units import Hertz

Array = np.ndarray[Any, np.dtype[np.float64]]

# Bins of 31.25 Hz in each band.
_BINS = (
    *(1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2),
    *(3, 3, 3, 3, 4, 3, 4, 5, 4, 5, 6, 6, 7, 8, 9, 9, 12, 12, 15, 16, 18, 21, 25, 20),
)
# Of their widths, in Bark. Centres follow from them: a band begins where the one before it ends.
_WIDTHS = (
    *(0.157344, 0.317994, 0.322441, 0.326934, 0.331474, 0.336061, 0.340697, 0.345381, 0.350114, 0.354897),
    *(0.359729, 0.364611, 0.369544, 0.374529, 0.379565, 0.384653, 0.389794, 0.394989, 0.400236, 0.405538),
    *(0.410894, 0.416306, 0.421773, 0.427297, 0.432877, 0.438514, 0.444209, 0.449962, 0.455774, 0.461645),
    *(0.467577, 0.473569, 0.479621, 0.485736, 0.491912, 0.498151, 0.504454, 0.510819, 0.517250, 0.523745),
    *(0.530308, 0.536934, 0.543629, 0.550390, 0.557220, 0.564119, 0.571085, 0.578125, 0.585232),
)
# What powers are multiplied by, so that bands with more or fewer bins than their width has have its density.
_DENSITIES = (
    *(100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 50.0, 100.0, 100.0, 100.0, 100.0, 100.0),
    *(53.047077, 110.000046, 117.991989, 65.0, 68.760147, 69.999931, 71.428818, 75.000038, 76.843384, 80.968781),
    *(88.646126, 63.864388, 68.15535, 72.547775, 75.584831, 58.379192, 80.950836, 64.135651, 54.384785, 73.821884),
    *(64.437073, 59.176456, 65.521278, 61.399822, 58.144047, 57.004543, 64.126297, 54.311001, 61.114979, 55.077751),
    *(56.849335, 55.628868, 53.137054, 54.985844, 79.546974),
)
# The hearing threshold, in power.
_THRESHOLDS = (
    *(51286152.0, 2454709.5, 70794.59375, 4897.788574, 1174.897705, 389.045166, 104.71286, 45.70882, 17.782795),
    *(9.772372, 4.897789, 3.090296, 1.905461, 1.258925, 0.977237, 0.724436, 0.562341, 0.457088, 0.389045),
    *(0.331131, 0.295121, 0.269153, 0.25704, 0.251189, 0.251189, 0.251189, 0.251189, 0.263027, 0.288403),
    *(0.30903, 0.338844, 0.371535, 0.398107, 0.436516, 0.467735, 0.489779, 0.501187, 0.501187, 0.512861),
    *(0.524807, 0.524807, 0.524807, 0.512861, 0.47863, 0.42658, 0.371535, 0.363078, 0.416869, 0.537032),
)
# The last band of 8 kHz ends with the spectrum.
_NARROW, _LAST_BINS, _LAST_DENSITY = 42, 11, 59.248363
# Zwicker's exponent of loudness, which is greater below 4 Bark.
_EXPONENT = 0.23
_LOUDNESS = 1.866055e-1
# By which spectra are divided to be sound pressures, for frames of 256 and of 512 samples.
_POWERS: dict[Hertz, float] = {8000: 2.764344e-5, 16000: 6.910853e-6}


@dataclass(frozen=True)
class Bands:
    """The bands of a rate.

    Attributes:
        starts: (bands,) the first bin of each.
        factors: (bands,) from sums of |X|² over bins to power densities.
        widths: (bands,) in Bark.
        thresholds: (bands,) of hearing, in power.
        exponents: (bands,) of loudness.
        bins: that all bands have together.
    """

    starts: np.ndarray[Any, np.dtype[np.int64]]
    factors: Array
    widths: Array
    thresholds: Array
    exponents: Array
    bins: int

    def densities(self, powers: Array) -> Array:
        """(T, bands) power densities of spectra (T, bins) of |X|²."""
        return np.add.reduceat(powers[:, : self.bins], self.starts, axis=1) * self.factors

    def audible(self, densities: Array, times: float) -> Array:
        """(T,) the sum of what is louder than so many times the threshold."""
        return np.where(densities > times * self.thresholds, densities, 0.0).sum(axis=1)

    def loudness(self, densities: Array) -> Array:
        """(T, bands) in Sone per Bark."""
        heard = densities > self.thresholds
        ratios = np.where(heard, densities / self.thresholds, 1.0)
        floors = (2.0 * self.thresholds) ** self.exponents
        return np.where(heard, _LOUDNESS * floors * ((0.5 + 0.5 * ratios) ** self.exponents - 1.0), 0.0)

    def norm(self, disturbance: Array, power: int) -> Array:
        """(T,) over bands, each as heavy as it is wide; the first one, which holds the mean alone, is left out."""
        widths = self.widths[1:]
        total = widths.sum()
        return total * (((np.abs(disturbance[:, 1:]) * widths) ** power).sum(axis=1) / total) ** (1.0 / power)


@cache
def bands_of(rate: Hertz) -> Bands:
    """The bands of 8000 or 16000 Hz."""
    number = _NARROW if rate == 8000 else len(_BINS)
    bins, densities = np.array(_BINS[:number]), np.array(_DENSITIES[:number])
    if rate == 8000:
        bins[-1], densities[-1] = _LAST_BINS, _LAST_DENSITY
    widths = np.array(_WIDTHS[:number])
    centres = np.cumsum(widths) - widths / 2
    exponents = _EXPONENT * np.where(centres < 4, np.minimum(6 / (centres + 2), 2.0), 1.0) ** 0.15
    starts = np.concatenate([[0], np.cumsum(bins)[:-1]])
    thresholds = np.array(_THRESHOLDS[:number])
    return Bands(starts, densities * _POWERS[rate], widths, thresholds, exponents, int(bins.sum()))
