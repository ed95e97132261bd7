"""What post-training quantization learns from a calibration set: activation ranges and statistics of layers' inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.bad_utterances import DEFAULT_MAX_BAD_SHARE, BadUtterances
from kaldi_quant.kaldi.text import encode
from kaldi_quant.nnet3.inference import Inference, InferenceOptions, IvectorSource
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.progress import progress
from kaldi_quant.quant.linear_modules import linear_module
from kaldi_quant.quant.observers import Observer


class CalibrationSet:
    """Utterances to calibrate on, and how to run them.

    Args:
        utterances: (name, features) pairs, features: (frames, dim) float32.
        options: how a network computes them.
        ivectors: tells their i-vectors, where the network has that input.
        max_bad_share: how many utterances may be unusable.
        device: where networks compute them.
    """

    def __init__(
        self,
        utterances: Iterable[tuple[str, np.ndarray]],
        options: InferenceOptions,
        ivectors: IvectorSource | None = None,
        max_bad_share: float = DEFAULT_MAX_BAD_SHARE,
        device: torch.device | None = None,
    ) -> None:
        self.utterances = list(utterances)
        self.options = options
        self.ivectors = ivectors
        self.max_bad_share = max_bad_share
        self.device = device or torch.device("cpu")

    def some(self, number: int = 20) -> CalibrationSet:
        """At most so many of the utterances, evenly chosen."""
        count = len(self.utterances)
        chosen = range(count) if count <= number else [i * count // number for i in range(number)]
        utterances = [self.utterances[i] for i in chosen]
        return CalibrationSet(utterances, self.options, self.ivectors, self.max_bad_share, self.device)

    def run(self, model: AcousticModel, what: str = "") -> None:
        """Computes all utterances, for what the model's taps and hooks see.

        Args:
            model: the network; it is moved to the device.
            what: what this is for, for the report of progress; empty where other work is reported that it is part of.

        Raises:
            DataError: too many utterances cannot be used.
        """
        bad = BadUtterances(self.max_bad_share)
        inference = Inference(model.to(self.device), None, self.options, self.ivectors, bad)
        usable = set()
        with progress(len(self.utterances), what, brief=True) if what else nullcontext() as advance:
            for name, _ in inference.compute(self.utterances):
                usable.add(name)
                if advance is not None:
                    advance(1)
        bad.check()
        # Said once is enough: further runs do without the bad ones.
        self.utterances = [(name, feats) for name, feats in self.utterances if name in usable]


def observe(model: AcousticModel, observers: Mapping[str, Observer], data: CalibrationSet) -> None:
    """Shows nodes' outputs to observers.

    Args:
        model: the float network.
        observers: for each node the one that sees it; several may share one.
        data: the calibration set.
    """

    def tap(observer: Observer) -> Callable[[Tensor], Tensor]:
        def see(x: Tensor) -> Tensor:
            observer.observe(rows_that_count(x).cpu())
            return x

        return see

    before = dict(model.taps)
    model.taps.update({name: tap(observer) for name, observer in observers.items()})
    try:
        data.run(model, "finding activation ranges")
    finally:
        model.taps = before


def rows_that_count(x: Tensor) -> Tensor:
    """The rows of a node's output, (N, T, dim) → (rows, dim), without those that are not finite.

    Where an optional input does not exist a mean is 0 / 0, which no output depends on; one that did would not be
    finite, and its utterance left out.
    """
    rows = x.reshape(-1, x.shape[-1])
    finite = torch.isfinite(rows).all(dim=1)
    return rows if finite.all() else rows[finite]


class InputStatistics(torch.nn.Module):
    """Sums over a linear layer's inputs; stands in for its product while they are collected.

    Args:
        module: the layer's product, which still does the work.
        columns: of the layer's weight.
        outer: whether to sum outer products too.
    """

    def __init__(self, module: torch.nn.Module, columns: int, outer: bool) -> None:
        super().__init__()
        self.module = module
        self.count = 0
        self.sum = torch.zeros(columns, dtype=torch.float64)
        self.outer = torch.zeros(columns, columns, dtype=torch.float64) if outer else None

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """As the module that it stands for."""
        rows = rows_that_count(x.detach())
        self.count += len(rows)
        # Summed up where the rows are, and then in the main memory.
        self.sum += rows.double().sum(0).cpu()
        if self.outer is not None:
            self.outer += (rows.T @ rows).double().cpu()
        return self.module(x, bias)

    @property
    def covariance(self) -> Tensor:
        """(in, in) float64."""
        assert self.outer is not None
        return self.outer / max(1, self.count) - torch.outer(self.mean, self.mean)

    @property
    def mean(self) -> Tensor:
        """(in,) float64."""
        return self.sum / max(1, self.count)


def input_statistics(
    model: AcousticModel, layers: Iterable[str], data: CalibrationSet, outer: bool
) -> dict[str, InputStatistics]:
    """Sums over the inputs of linear layers, over a calibration set."""
    found: dict[str, InputStatistics] = {}
    modules = {name: linear_module(model, name) for name in layers}
    for name, module in modules.items():
        found[name] = InputStatistics(module.product, module.weight.shape[1], outer)
        module.product = found[name]
    model.forget_programs()
    try:
        data.run(model, "collecting what layers read")
    finally:
        for name, module in modules.items():
            module.product = found[name].module
        model.forget_programs()
    return found


def data_digest(
    utterances: Iterable[tuple[str, np.ndarray]], ivectors: Callable[[str], np.ndarray | None] | None = None
) -> str:
    """A digest of utterances' names and features, and of their i-vectors, the same wherever they lie.

    Args:
        utterances: (name, features) pairs.
        ivectors: tells those of an utterance, for networks that take them.
    """
    digest = hashlib.sha256()
    for name, feats in utterances:
        for values in (feats, ivectors(name) if ivectors is not None else None):
            if values is not None:
                digest.update(encode(f"{name}\0{values.shape}{values.dtype.str}\0"))
                digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
