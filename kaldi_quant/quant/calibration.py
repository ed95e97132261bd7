"""What post-training quantization learns from a calibration set: activation ranges and statistics of layers' inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from kaldi_quant.quant.grouped import cross_moments
from kaldi_quant.quant.host import Data, Executable
from kaldi_quant.quant.observers import Observer
from kaldi_quant.quant.slots import columns_of, groups_of_layer, rows_that_count, watched
from kaldi_quant.quant.taps import SeenTap


def observe(model: Executable, observers: Mapping[str, Observer], data: Data) -> None:
    """Shows nodes' outputs to observers.

    Args:
        model: the float network.
        observers: for each node the one that sees it; several may share one.
        data: the calibration set.
    """

    def seeing(observer: Observer) -> SeenTap:
        return SeenTap(None, lambda x: observer.observe(rows_that_count(x).cpu()))

    with model.taps.with_others({name: seeing(observer) for name, observer in observers.items()}):
        data.run(model, "finding activation ranges")


class InputStatistics:
    """Sums over the rows that a layer reads.

    Args:
        columns: of the layer's weight.
        outer: whether to sum outer products too.
        groups: of the input's columns (``grouped``).
    """

    def __init__(self, columns: int, outer: bool, groups: int = 1) -> None:
        self.count, self.groups = 0, groups
        self.sum = torch.zeros(groups * columns, dtype=torch.float64)
        self.outer = cross_moments(self.sum, self.sum, groups) if outer else None

    def see(self, x: Tensor) -> None:
        """Adds rows; x: (..., groups * in)."""
        rows = rows_that_count(x.detach())
        self.count += len(rows)
        # Summed up where the rows are, and then in the main memory.
        self.sum += rows.double().sum(0).cpu()
        if self.outer is not None:
            self.outer += cross_moments(rows, rows, self.groups).double().cpu()

    @property
    def covariance(self) -> Tensor:
        """(in, in), or (groups, in, in) float64."""
        assert self.outer is not None
        return self.outer / max(1, self.count) - cross_moments(self.mean, self.mean, self.groups)

    @property
    def mean(self) -> Tensor:
        """(groups * in,) float64."""
        return self.sum / max(1, self.count)


def input_statistics(model: Executable, layers: Iterable[str], data: Data, outer: bool) -> dict[str, InputStatistics]:
    """Sums over the inputs of layers, over a calibration set."""
    found = {name: InputStatistics(columns_of(model, name), outer, groups_of_layer(model, name)) for name in layers}
    with watched(model, {name: statistics.see for name, statistics in found.items()}):
        data.run(model, "collecting what layers read")
    return found
