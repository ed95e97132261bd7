"""Exact rescaling of a float network's channels, so that its integer grids lose less.

A node's activations share one scale, a row's weights another. Dividing a channel by a factor and multiplying the
weights that read it changes no float, but a small channel made larger uses more of the activations' grid, at the price
of a greater spread among the columns of the weights that read it. The rows that compute it pay nothing, as long as each
has a scale of its own. Three rules for the factors are known: they look at weights, at activations, or at both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.channel_groups import ChannelGroup
from kaldi_quant.quant.host import Data, Host
from kaldi_quant.quant.layer_inputs import LayerInputs, observe_inputs
from kaldi_quant.quant.rounding_error import RoundingError
from kaldi_quant.registry import Registry

if TYPE_CHECKING:
    from kaldi_quant.quant.layer_config import LayerConfig

#: Exponents that are tried where none is given: from weights alone to activations alone.
ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

# Cross-layer equalization has converged when no factor is further from one than this, or after so many rounds.
_CONVERGED, _MOST_ROUNDS = 1e-3, 100

# Factors stay within this, each way, of the middle one, so that a channel that is hardly ever used harms no other.
_WIDEST = 2.0**10

_Rule = Callable[[Host, ChannelGroup, Mapping[str, LayerInputs], float], np.ndarray]


@dataclass(frozen=True)
class Equalization:
    """One way to rescale channels: either the whole network at once, or group by group.

    Args:
        network: the rescaled network, which data do not matter for.
        rule: the factors (group.size,) of a group of channels, from what the layers read and an exponent from 0 to 1.
    """

    network: Callable[[Host], Host] | None = None
    rule: _Rule | None = None


#: Those that a configuration may name.
EQUALIZATIONS: Registry[Equalization] = Registry("equalization")


def equalize(
    prepared: Host,
    data: Data,
    method: str,
    layer_configs: Mapping[str, LayerConfig],
    alpha: float | None = None,
) -> Host:
    """Rescales the channels of a prepared network; its float output stays as it is.

    Args:
        prepared: the network.
        data: the calibration set; cle does without.
        method: cle, smoothquant or awq.
        layer_configs: for each layer how it is to be quantized.
        alpha: the exponent of smoothquant and awq, 0 to 1; by default for each group of channels the one by which the
            layers that read it are expected to lose least, or no rescaling if that is better still.

    Raises:
        UsageError: there is no such method, or alpha is out of range.
        DataError: the calibration set cannot be used.
    """
    way = EQUALIZATIONS[method]
    if alpha is not None and not 0.0 <= alpha <= 1.0:
        raise UsageError(f"the exponent of {method} is {alpha:g}, which is not between 0 and 1")
    if way.network is not None:
        return way.network(prepared)
    assert way.rule is not None
    return _Search(prepared, data, way.rule, layer_configs).run(alpha)


def _cross_layer(prepared: Host) -> Host:
    """Makes a channel's weights equally large in the layers before and after it: s = sqrt(r1 / r2).

    r1 is the largest weight that computes the channel, r2 the largest that reads it; repeated over all groups until
    nothing changes. Where rows have scales of their own, r1 is of no account for their grids and only columns profit.

    Source: M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-Free Quantization Through Weight Equalization and
    Bias Correction", ICCV 2019.
    """
    groups = prepared.channel_groups()
    for _ in range(_MOST_ROUNDS):
        furthest = 0.0
        for group in groups:
            factor = np.sqrt(_largest_rows(prepared, group) / _largest_columns(prepared, group))
            factor = bounded(factor, centred=False)
            prepared = prepared.rescaled({group: factor})
            furthest = max(furthest, float(np.abs(np.log(factor)).max()))
        if furthest < _CONVERGED:
            break
    return prepared


def _smoothquant(prepared: Host, group: ChannelGroup, inputs: Mapping[str, LayerInputs], alpha: float) -> np.ndarray:
    """s = max|x|^alpha / max|w|^(1 - alpha), (group.size,): as much of the difficulty goes into weights as alpha says.

    Source: G. Xiao, J. Lin, M. Seznec, H. Wu, J. Demouth, S. Han, "SmoothQuant: Accurate and Efficient Post-Training
    Quantization for Large Language Models", ICML 2023.
    """
    largest = _per_channel(group.consumers, group.size, lambda name: inputs[name].largest.double().numpy())
    return largest**alpha / _largest_columns(prepared, group) ** (1 - alpha)


def _awq(prepared: Host, group: ChannelGroup, inputs: Mapping[str, LayerInputs], alpha: float) -> np.ndarray:
    """s = mean|x|^alpha, (group.size,): weights that meet large activations are rounded relatively less.

    Source: J. Lin, J. Tang, H. Tang, S. Yang, W.-M. Chen, W.-C. Wang, G. Xiao, X. Dang, C. Gan, S. Han, "AWQ:
    Activation-aware Weight Quantization for LLM Compression and Acceleration", MLSys 2024.
    """
    return _per_channel(group.consumers, group.size, lambda name: inputs[name].mean_size.numpy()) ** alpha


EQUALIZATIONS.add("cle")(Equalization(network=_cross_layer))
EQUALIZATIONS.add("smoothquant")(Equalization(rule=_smoothquant))
EQUALIZATIONS.add("awq")(Equalization(rule=_awq))


class _Search:
    """Factors by a rule with an exponent, group after group."""

    def __init__(self, prepared: Host, data: Data, rule: _Rule, configs: Mapping[str, LayerConfig]) -> None:
        self.prepared, self.rule = prepared, rule
        self.groups = prepared.channel_groups()
        layers = list(dict.fromkeys(name for group in self.groups for name in group.consumers))
        self.inputs = observe_inputs(prepared.complete().executable(), layers, data) if layers else {}
        self.errors = {
            name: RoundingError(
                configs[name], torch.from_numpy(_weight(prepared, name)), self.inputs[name].examples.double()
            )
            for name in layers
            if name in configs and not configs[name].float_reason
        }
        #: For each layer the factors of its columns so far; it may read several groups.
        self.columns = {name: np.ones(_weight(prepared, name).shape[1]) for name in layers}

    def run(self, alpha: float | None) -> Host:
        chosen = {}
        for group in self.groups:
            chosen[group] = self._factor(group, alpha) if alpha is not None else self._best(group)
            self.columns |= self._with(group, chosen[group])
        return self.prepared.rescaled(chosen)

    def _factor(self, group: ChannelGroup, alpha: float) -> np.ndarray:
        return bounded(self.rule(self.prepared, group, self.inputs, alpha), centred=True)

    def _best(self, group: ChannelGroup) -> np.ndarray:
        candidates = [np.ones(group.size), *(self._factor(group, alpha) for alpha in ALPHAS)]
        return candidates[int(np.argmin([self._loss(group, candidate) for candidate in candidates]))]

    def _loss(self, group: ChannelGroup, factor: np.ndarray) -> float:
        """What the layers that read a group lose in the end, each as a share of its output."""
        columns = self._with(group, factor)
        return sum(
            self.errors[name].relative(torch.from_numpy(column))
            for name, column in columns.items()
            if name in self.errors
        )

    def _with(self, group: ChannelGroup, factor: np.ndarray) -> dict[str, np.ndarray]:
        """The factors of the columns of the layers that read a group, with this one for the group."""
        return {
            name: np.where(channels >= 0, np.append(factor, 1.0)[channels], self.columns[name])
            for name, channels in group.consumers.items()
        }


def _weight(prepared: Host, name: str) -> np.ndarray:
    """(out, in) float64."""
    return prepared.weight(name).numpy().astype(np.float64)


def _largest_rows(prepared: Host, group: ChannelGroup) -> np.ndarray:
    return _per_channel(group.producers, group.size, lambda name: np.abs(_weight(prepared, name)).max(1))


def _largest_columns(prepared: Host, group: ChannelGroup) -> np.ndarray:
    return _per_channel(group.consumers, group.size, lambda name: np.abs(_weight(prepared, name)).max(0))


def _per_channel(tables: Mapping[str, np.ndarray], size: int, values: Callable[[str], np.ndarray]) -> np.ndarray:
    """(size,) positive: the largest value of each channel, over the rows or columns of layers."""
    largest = np.zeros(size)
    for name, channels in tables.items():
        np.maximum.at(largest, channels[channels >= 0], values(name)[channels >= 0])
    # What is zero everywhere is as good as any other.
    return np.where(largest > 0, largest, largest.max() or 1.0)


def bounded(factor: np.ndarray, centred: bool) -> np.ndarray:
    """Factors that are not too far from each other, around one if they are to be centred."""
    middle = float(np.exp(np.median(np.log(factor))))
    factor = np.clip(factor, middle / _WIDEST, middle * _WIDEST)
    return factor / middle if centred else factor
