"""Activation ranges of integer models, and how the activations of speech lie on them.

A node's grid goes from the value of its smallest integer to that of its largest. What is observed are float
activations: those of the model's own dequantized weights, with nothing rounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.nnet3.inference_options import InferenceOptions
from kaldi_quant.nnet3.ivectors_in_time import IvectorSource
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.calibration import observe
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.observers import HistogramObserver
from kaldi_quant.quant.ranges import ranges_of
from kaldi_quant.units import Bits, Seconds

#: Shares of the values that lie below the middle three of five points.
_SHARES = (0.01, 0.5, 0.99)
_FRAMES_PER_SECOND = 100


@dataclass(frozen=True)
class Spread:
    """Where the activations of a node lie.

    Attributes:
        values: least, that with 1 % of the others below it, median, 99 %, greatest; of all columns together.
        positions: the same as shares of the grid: 0 is its low end and 1 its high end, for each column its own.
        beyond: the share that the grid clips, because the nearest integer would be outside it.
        count: how many values there were.
    """

    values: tuple[float, ...]
    positions: tuple[float, ...]
    beyond: float
    count: int


@dataclass(frozen=True)
class NodeRange:
    """The grid of a node.

    Attributes:
        name: of the node.
        bits: of the grid.
        low, high: its ends; where columns have grids of their own, the lowest and the highest of all.
        columns: how many grids there are: 1, or one for each column.
        spread: of the activations, where they were observed.
    """

    name: str
    bits: Bits
    low: float
    high: float
    columns: int
    spread: Spread | None = None


@dataclass(frozen=True)
class ModelRanges:
    """The grids of a model.

    Attributes:
        name: of the model.
        nodes: in the order in which the graph is read; none where ranges are found for each utterance.
        seconds: of the speech that was observed; None where none was.
    """

    name: str
    nodes: tuple[NodeRange, ...]
    seconds: Seconds | None = None


def ranges_of_model(name: str, network: QuantizedNetwork) -> ModelRanges:
    """The grids of an integer network."""
    nodes = []
    for node, (low, high) in ranges_of(network.activations).items():
        bits = network.activations[node].spec.bits
        nodes.append(NodeRange(node, bits, float(low.min()), float(high.max()), low.numel()))
    return ModelRanges(name, tuple(nodes))


def with_spreads(
    ranges: ModelRanges,
    network: QuantizedNetwork,
    utterances: Iterable[tuple[str, np.ndarray]],
    options: InferenceOptions,
    ivectors: IvectorSource | None = None,
) -> ModelRanges:
    """Runs a network with its dequantized weights and activations in float, and observes each node that has a grid.

    Args:
        ranges: of the network.
        network: the integer network.
        utterances: (name, features) pairs, features: (frames, dim) float32.
        options: how they are computed.
        ivectors: tells their i-vectors, where the network has that input.

    Raises:
        DataError: too many utterances cannot be used, or activations are not finite.
    """
    data = UtteranceSet(utterances, options, ivectors)
    observers = {node: _GridObserver(network.activations[node]) for node in network.activations}
    observe(network.dequantized().executable(), observers, data)
    seconds = sum(len(feats) for _, feats in data.utterances) / _FRAMES_PER_SECOND
    nodes = tuple(replace(node, spread=observers[node.name].spread()) for node in ranges.nodes)
    return replace(ranges, nodes=nodes, seconds=seconds)


class _Values(HistogramObserver):
    """A histogram that tells quantiles."""

    def five(self) -> tuple[float, ...]:
        """Least, 1 %, median, 99 %, greatest; those in the middle to a bin of the histogram, rounded towards zero."""
        cumulative = self.counts.cumsum(0)
        edges = self._centres()
        edges = edges - edges.sign() * (self.bound / len(edges))
        places = torch.searchsorted(cumulative, torch.tensor(_SHARES, dtype=torch.float64) * cumulative[-1])
        middle = edges[places.clamp_max(len(edges) - 1)].clamp(self.low, self.high)
        return (self.low, *middle.tolist(), self.high)

    def _see(self, x: Tensor, low: float, high: float) -> None:
        if self.count == x.numel():
            # The first values are the range so far: zero need not be in it.
            self.low, self.high = low, high
        super()._see(x, low, high)

    def _fit(self, spec: object) -> Grid:
        raise NotImplementedError("it only describes")


class _GridObserver(_Values):
    """Values of a node, their positions on its grid, and how many of them it clips."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.given, self.beyond = grid, 0
        (self.ends,) = ranges_of({"": grid}).values()
        self.positions = _Values()

    def spread(self) -> Spread | None:
        """What was seen; None for nothing."""
        if not self.count:
            return None
        low, high = self.ends
        values = self.five()
        if low.numel() > 1:
            positions = self.positions.five()
        else:
            positions = tuple(((torch.tensor(values, dtype=torch.float64) - low) / (high - low)).flatten().tolist())
        return Spread(values, positions, self.beyond / self.count, self.count)

    def _see(self, x: Tensor, low: float, high: float) -> None:
        super()._see(x, low, high)
        spec = self.given.spec
        steps = (x / self.given.scale).round() + self.given.zero_point
        self.beyond += int(((steps < spec.qmin) | (steps > spec.qmax)).sum())
        lowest, highest = self.ends
        if lowest.numel() > 1:
            self.positions.observe(((x - lowest) / (highest - lowest)).float())
