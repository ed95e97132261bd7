"""Quantization-aware training from a quantized network, by LF-MMI, distillation, or both."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch

from kaldi_quant.quant.host import Executable
from kaldi_quant.quant.integer_linear import DynamicLinear
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.train.loop import Loop, LoopOptions
from kaldi_quant.train.parallel.device_context import DeviceContext
from kaldi_quant.train.parameters import TrainedComponent
from kaldi_quant.train.qat.options import QatOptions
from kaldi_quant.train.qat.trained_weight import WEIGHTS
from kaldi_quant.train.record import IterationRecord
from kaldi_quant.train.steps import Observers, Source


class Digested(Protocol):
    """What tells itself from others."""

    def digest(self) -> str:
        """A digest of its content."""


class Trainable(Protocol):
    """A network with fake quantization, whoever makes it."""

    @property
    def start(self) -> QuantizedNetwork:
        """What training begins with."""

    @property
    def model(self) -> Executable:
        """Computes with fake quantization."""

    @property
    def activations(self) -> Collection[str]:
        """The nodes on grids."""

    @property
    def observers(self) -> Observers | None:
        """What follows the ranges that scales come from; None where scales are parameters."""

    def to(self, device: torch.device) -> None:
        """Moves what is computed with to a device."""

    def components(self) -> list[TrainedComponent]:
        """What is trained, without scales; nothing else requires gradients from then on."""

    def scales(self) -> list[TrainedComponent]:
        """The scales and zero points that are parameters."""

    def converted(self) -> QuantizedNetwork:
        """The network in integers, as fake quantization has it."""


def train_quantized(
    network: Trainable,
    model: Digested,
    source: Source,
    options: QatOptions,
    loop: LoopOptions,
    folder: Path,
    identity: dict[str, Any],
    stop_after: int | None = None,
    place: DeviceContext | None = None,
    after: Callable[[IterationRecord], None] | None = None,
) -> QuantizedNetwork | None:
    """Trains a quantized network.

    Args:
        network: is changed.
        model: the float model that it was made from.
        source: the minibatches and the loss.
        options: what becomes of scales and weights; ``network`` was made for the same.
        loop: how training goes otherwise.
        folder: of the checkpoint and the record.
        identity: what else the result depends on.
        stop_after: ends after so many iterations, as if killed.
        place: where it is computed, and by which processes; the same that ``source`` has.
        after: is told each iteration when it has ended.

    Returns:
        the network in integers; None where it was stopped.
    """
    start = start_digest(network.start)
    place = place or DeviceContext()
    identity = {"model": model.digest(), "start": start, "qat": options.as_dict(), **identity, **place.identity}
    loop = replace(loop, freeze_after=options.freeze_after)
    if not WEIGHTS[options.weights].is_float:
        # Kaldi's limit is one for weights in float, not for their places on grids.
        loop = replace(loop, optimizer=replace(loop.optimizer, max_param_change=0.0))
    network.to(place.device)
    parts, scales = network.components(), network.scales()
    observers = network.observers
    trained = Loop(
        network.model, parts, source, loop, folder, identity, scales, place.group, observers=observers, after=after
    )
    if not trained.run(stop_after) and stop_after is not None:
        return None
    return network.converted()


def start_digest(network: QuantizedNetwork) -> str:
    """What tells the network that training begins with from others."""
    found = hashlib.sha256()
    for name, layer in network.layers.items():
        found.update(name.encode() + layer.weight.integers.numpy().tobytes() + layer.weight.scale.numpy().tobytes())
        if isinstance(layer, DynamicLinear):
            # Of static ranges the grids of nodes tell.
            found.update(repr(layer.spec).encode())
    for name, grid in network.activations.items():
        found.update(name.encode() + grid.scale.numpy().tobytes() + grid.zero_point.numpy().tobytes())
    return found.hexdigest()
