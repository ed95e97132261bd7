"""What rounding the signals at the ends of a separator costs, by how good it is in float.

The distortion of a separator and the noise of rounding add up: what separates well loses most. Uniform noise has the
energy of a step's square over 12 and nothing in common with the signal. Where in float the distortion is d of the
source's energy, and the noise n of the output's, both together are d + (1 + d) n. Where a signal is often softer than a
step, as speech is on coarse grids, what is measured is less than that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.frontends.separation.networks.known import Kind
from kaldi_quant.frontends.separation.scores.measured import ScoredMixture
from kaldi_quant.frontends.separation.scores.measures import MEASURES, Separated, metrics_of, ordered
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.units import Bits

#: What is rounded.
Where = Literal["input", "output", "both"]
WIDTHS: tuple[Bits, ...] = tuple(range(6, 17))
# A grid has integers of both signs.
_LEAST_BITS, _MOST_BITS = 2, 24


class Separates(Protocol):
    """What is measured; ``Separator`` is one.

    Attributes:
        kind: of the network.
    """

    @property
    def kind(self) -> Kind: ...
    def separate(self, mixture: Array) -> Array:
        """(S, C, T) float32 for (C, T)."""


@dataclass(frozen=True)
class Rounded:
    """What rounding did to one source of one recording, in dB.

    Args:
        name: of the recording.
        source: its number.
        where: what was rounded.
        bits: of the grid.
        in_float: the ratio of the source to the distortion, without rounding.
        measured: with rounding.
        predicted: by uniform noise; of the input it is taken to reach the output as loud as it is beside the mixture.
    """

    name: str
    source: int
    where: Where
    bits: Bits
    in_float: float
    measured: float
    predicted: float


def rounded(signal: Array, bits: Bits) -> Array:
    """A signal on the symmetric grid of so many bits whose largest integer is its loudest sample.

    Raises:
        UsageError: there is no such grid.

    Example:
        >>> rounded(np.array([1.0, 0.4, -0.2]), 3)
        array([ 1.        ,  0.33333333, -0.33333333])
    """
    step = _step(signal, bits)
    return signal if step == 0 else (np.round(signal / step) * step).astype(signal.dtype)


def measure_rounding(
    separator: Separates, mixtures: Iterable[ScoredMixture], widths: Sequence[Bits] = WIDTHS
) -> list[Rounded]:
    """Separates all mixtures in float, and with rounded inputs and outputs of all widths.

    Ratios are SI-SDR for kinds without order, NSDR for the others. Sources without a ratio, silent ones, are left out.

    Args:
        separator: in float.
        mixtures: read once.
        widths: in bits.

    Raises:
        DataError: there is nothing to be measured; or what the separator raises.
        UsageError: there is no grid of a width.
    """
    kind, found = separator.kind, []
    measure = MEASURES[metrics_of(kind)[0].name]
    for each in mixtures:
        sources = each.sources

        def ratios(estimates: Array, mixture: Array = each.mixture, sources: Array = sources) -> Array:
            return measure(Separated(mixture, sources, ordered(kind, sources, estimates), kind.rate))

        estimates = separator.separate(each.mixture)
        in_order = ordered(kind, sources, estimates)
        in_float = ratios(estimates)
        for bits in widths:
            of_rounded = separator.separate(rounded(each.mixture, bits))
            noises = {
                "input": np.full(len(sources), _noise_ratio(each.mixture, bits)),
                "output": np.array([_noise_ratio(one, bits) for one in in_order]),
            }
            noises["both"] = noises["input"] + noises["output"]
            measured = {
                "input": ratios(of_rounded),
                "output": ratios(_each_rounded(estimates, bits)),
                "both": ratios(_each_rounded(of_rounded, bits)),
            }
            for where in get_args(Where):
                for place in np.flatnonzero(np.isfinite(in_float)):
                    distortion = 10 ** (-in_float[place] / 10)
                    predicted = -_db(distortion + (1 + distortion) * noises[where][place])
                    values = float(in_float[place]), float(measured[where][place]), predicted
                    found.append(Rounded(each.name, int(place), where, bits, *values))
    if not found:
        raise DataError("there are no mixtures, or all their sources are silent: nothing can be said of rounding")
    return found


@dataclass(frozen=True)
class Group:
    """Sources that are separated about equally well in float.

    Args:
        in_float: the mean of their ratios in dB.
        number: of sources.
        lost: (where, bits) → the mean loss in dB, measured and predicted.
    """

    in_float: float
    number: int
    lost: dict[tuple[Where, Bits], tuple[float, float]]


def grouped(found: Sequence[Rounded], groups: int = 4) -> list[Group]:
    """Sources by their ratio in float, about as many in each group, the worst first.

    Raises:
        UsageError: there is no group.
    """
    if groups < 1:
        raise UsageError(f"expected at least one group of sources, found {groups}")
    ratios = {(one.name, one.source): one.in_float for one in found}
    order = sorted(ratios, key=lambda key: ratios[key])
    parts = [part for part in np.array_split(np.arange(len(order)), groups) if len(part)]
    result = []
    for part in parts:
        members = {order[place] for place in part}
        losses: dict[tuple[Where, Bits], list[tuple[float, float]]] = {}
        for one in found:
            if (one.name, one.source) in members:
                lost = one.in_float - one.measured, one.in_float - one.predicted
                losses.setdefault((one.where, one.bits), []).append(lost)
        means = {key: (_mean(x for x, _ in values), _mean(x for _, x in values)) for key, values in losses.items()}
        result.append(Group(_mean(ratios[key] for key in members), len(members), means))
    return result


def noise_table(groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: the mean loss in dB of each group, and in brackets what uniform noise predicts.

    Example:
        >>> noise_table([Group(15.0, 8, {("output", 8): (0.21, 0.2)})])
        (['rounded', 'bits', '15.0 dB (8)'], [['output', '8', '0.21 (0.20)']])
    """
    heads = ["rounded", "bits", *(f"{group.in_float:.1f} dB ({group.number})" for group in groups)]
    rows = []
    for where, bits in groups[0].lost:
        lost = [group.lost[where, bits] for group in groups]
        rows.append([where, str(bits), *(f"{measured:.2f} ({predicted:.2f})" for measured, predicted in lost)])
    return heads, sorted(rows, key=lambda row: (get_args(Where).index(row[0]), int(row[1])))


def _each_rounded(estimates: Array, bits: Bits) -> Array:
    return np.stack([rounded(one, bits) for one in estimates])


def _step(signal: Array, bits: Bits) -> float:
    if not _LEAST_BITS <= bits <= _MOST_BITS:
        raise UsageError(f"expected a grid of {_LEAST_BITS} to {_MOST_BITS} bits, found {bits}")
    return float(np.abs(signal).max(initial=0.0)) / (2 ** (bits - 1) - 1)


def _noise_ratio(signal: Array, bits: Bits) -> float:
    """The energy of uniform noise of a step out of the signal's; 0 for silence."""
    power = float(np.square(signal, dtype=np.float64).mean())
    return _step(signal, bits) ** 2 / 12 / power if power else 0.0


def _db(ratio: float) -> float:
    return 10 * math.log10(ratio)


def _mean(values: Iterable[float]) -> float:
    kept = list(values)
    return math.fsum(kept) / len(kept)
